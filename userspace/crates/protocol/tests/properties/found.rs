//! Losses that the properties found to be told wrong, as plain rows.

use modeltap_core::connection::CloseCause;
use modeltap_core::record::Method;

use crate::model::{Conversation, Exchange, Framing};
use crate::{Client, check_losses_at};

fn head(length: usize) -> Exchange {
    Exchange {
        method: Method::Head,
        ..Exchange::get(200, length)
    }
}

fn pipelined(request: Framing, length: usize) -> Exchange {
    Exchange {
        waits: false,
        request,
        ..Exchange::get(200, length)
    }
}

fn conversation(exchanges: Vec<Exchange>, reads: Vec<usize>, writes: Vec<usize>) -> Conversation {
    Conversation {
        exchanges,
        hostile: false,
        reads,
        writes,
        reads_first: vec![false, false, true],
        close: CloseCause::LocalFinished,
    }
}

#[test]
fn empty_line_before_a_request_behind_a_gap_does_not_hide_it() {
    let blank = |exchange| Exchange {
        blank: true,
        ..exchange
    };
    // The request behind the gap is the one to HEAD: without it, its answer
    // seems to have a body.
    let exchanges = vec![
        Exchange::get(200, 0),
        blank(head(100_000)),
        blank(Exchange::get(200, 0)),
    ];
    let whole = vec![usize::MAX];
    let conversation = conversation(exchanges, whole.clone(), whole);
    check_losses_at(conversation, Client::Waits, vec![1]);
}

#[test]
fn gap_behind_an_answer_to_a_lost_head_is_not_its_body() {
    // The first request's beginning and the second answer.
    let exchanges = vec![head(62), head(0)];
    let conversation = conversation(exchanges, vec![18], vec![usize::MAX]);
    check_losses_at(conversation, Client::Waits, vec![1, 6]);
}

#[test]
fn request_half_read_when_pipelined_ones_are_lost_does_not_wait_for_ever() {
    let exchanges = vec![
        pipelined(Framing::Empty, 0),
        pipelined(Framing::Empty, 0),
        pipelined(Framing::Empty, 0),
    ];
    let mut conversation = conversation(exchanges, vec![78], vec![usize::MAX]);
    conversation.reads_first = vec![false];
    check_losses_at(conversation, Client::Pipelines, vec![2, 3]);
}

#[test]
fn responses_unseen_behind_one_passed_over_do_not_shift_the_rest() {
    let chunked = Framing::Chunked {
        chunks: vec![40],
        odd: true,
    };
    let exchanges = vec![
        pipelined(Framing::Empty, 7),
        pipelined(Framing::Empty, 0),
        Exchange::get(200, 264),
        pipelined(chunked, 341),
        Exchange {
            interim: vec![100, 100],
            ..pipelined(Framing::Length(128), 64)
        },
    ];
    let conversation = conversation(exchanges, vec![35, 35, 152, 38, 145], vec![71, 169, 60]);
    check_losses_at(conversation, Client::Pipelines, vec![4]);
}
