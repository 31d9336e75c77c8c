//! What became of the bytes and requests that were there to be seen.

use leptos::prelude::*;

use crate::accounting::{Agreement, Balance, Bytes, Compared, difference_text};
use crate::components::bar::segment_bar;
use crate::components::figures::remark;
use crate::components::parts::{Part, parts_table};
use crate::format::{self, Quantity};
use crate::words::{W, phrases, t};

/// Bytes by fate: a bar, and a line of the sum each.
pub fn bytes_account(bytes: &Bytes) -> Vec<AnyView> {
    let whole = bytes.observed.max(1) as f64;
    let mut parts: Vec<Part> = bytes
        .fates
        .iter()
        .map(|(fate, n)| {
            let share = (bytes.observed > 0).then_some(*n as f64 / whole);
            Part {
                name: t(fate.name),
                token: Some(fate.token),
                words: t(fate.meaning).to_owned(),
                values: vec![format::bytes(*n), format::percent(share)],
                ..Part::default()
            }
        })
        .collect();
    parts.push(Part {
        name: t(W::ObservedWord),
        words: t(W::ObservedMeans).to_owned(),
        values: vec![format::bytes(bytes.observed), Quantity::plain("")],
        is_sum: true,
        ..Part::default()
    });
    vec![
        segment_bar(&bytes.segments(), phrases::bytes_fates(&bytes.text())),
        parts_table("", &[t(W::Fate), t(W::Bytes), t(W::Share)], parts),
        verdict(t(W::Bytes), bytes.balance),
    ]
}

/// Whether a sum comes out, in words.
pub fn verdict(what: &'static str, balance: Balance) -> AnyView {
    let (class, words) = match balance {
        Balance::Even => ("ok", phrases::add_up(what)),
        Balance::Under(n) => ("idle", phrases::not_yet(what, &format::count(n))),
        Balance::Over(n) => ("crit", phrases::too_many(what, &format::count(n))),
    };
    remark(class, words)
}

/// The probes' own counts beside the parser's, and what is between them.
pub fn counts_table(rows: &[Compared], agreement: Agreement) -> Vec<AnyView> {
    let parts = rows
        .iter()
        .map(|row| {
            let (class, difference) = difference(row.difference, agreement);
            Part {
                name: row.name,
                values: vec![
                    known_count(row.kernel),
                    Quantity::plain(format::count(row.seen)),
                    Quantity::plain(difference),
                ],
                class,
                ..Part::default()
            }
        })
        .collect();
    let (class, words) = agreement.words();
    vec![
        parts_table(
            "",
            &["", t(W::InTheKernel), t(W::Parsed), t(W::Difference)],
            parts,
        ),
        remark(class, words),
    ]
}

/// A count, where it is known.
#[must_use]
pub fn known_count(n: Option<u64>) -> Quantity {
    n.map_or_else(Quantity::unknown, |n| Quantity::plain(format::count(n)))
}

/// A difference: how it is coloured by what it means, and its text.
#[must_use]
pub fn difference(difference: Option<i64>, agreement: Agreement) -> (&'static str, String) {
    // Two counts of what can be seen say nothing of what cannot.
    let told = difference.filter(|_| agreement != Agreement::Unseen);
    let class = match (told, agreement) {
        (Some(0), _) => "exact",
        (Some(_), Agreement::UnderWay) | (None, _) => "muted",
        (Some(_), _) => "warn",
    };
    (class, difference_text(told))
}
