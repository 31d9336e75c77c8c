//! What fires, said above every page and beside every service.

use leptos::prelude::*;
use modeltap_api_types::{Alert, Service};

use crate::address;
use crate::alerts::{is_loud, sentence, severity_class};
use crate::browser;
use crate::components::parts::live;
use crate::format;
use crate::reactive::{effect, memo, says};
use crate::state::Store;
use crate::words::{W, phrases, t};

/// Alerts that the banner tells of; the rest are counted.
const IN_BANNER: usize = 3;

/// The loud alerts, the worst first.
fn loud(store: Store) -> Memo<Vec<Alert>> {
    memo(move || {
        store
            .alerts
            .with(|alerts| alerts.iter().filter(|a| is_loud(a)).cloned().collect())
    })
}

/// What fires, with where to look.
#[component]
pub fn AlertBanner() -> impl IntoView {
    let store = expect_context::<Store>();
    let loud = loud(store);
    let n = memo(move || loud.with(Vec::len));
    // Said when their number changes, not with every second's figure.
    let said = move || match n.get() {
        0 => String::new(),
        1 => t(W::OneAlertFires).to_owned(),
        n => phrases::alerts_fire(&n.to_string()),
    };
    let class = move || loud.with(|l| l.first().map_or("info", |a| severity_class(&a.severity)));
    let lines = live(move || loud.with(|l| l.iter().take(IN_BANNER).map(line).collect()));
    let more = move || match n.get().saturating_sub(IN_BANNER) {
        0 => t(W::AllAlerts).to_owned(),
        more => phrases::and_more(&more.to_string()),
    };
    effect(move || {
        let title = match n.get() {
            0 => "modeltap".to_owned(),
            n => format!("({n}) modeltap"),
        };
        document().set_title(&title);
    });
    view! {
        <p class="sr-only" role="alert">{said}</p>
        <section
            class=says(move || format!("panel banner firing {}", class()))
            hidden=move || n.get() == 0
            aria-label=t(W::AlertsThatFire)
            data-testid="alert-banner"
            data-count=says(move || n.get().to_string())
        >
            <span class="mark-shape" aria-hidden="true"></span>
            <div class="lines">{lines}</div>
            <a class="quiet" href="/alerts">{more}</a>
        </section>
    }
    .into_any()
}

fn line(alert: &Alert) -> AnyView {
    let since = alert.fired_unix_ms.unwrap_or(alert.since_unix_ms) as f64;
    let severity = format::severity(&alert.severity).to_owned();
    view! {
        <p data-testid="alert-line" data-service=alert.service.clone() data-rule=alert.rule.clone()>
            <span class="sr-only">{severity}": "</span>
            <a class="service" href=address::service_href(&alert.service)>{alert.service.clone()}</a>
            <b>{alert.rule_name.clone()}</b>
            <span>{sentence(alert).to_owned()}</span>
            <span class="muted">{phrases::since(&browser::time_of_day(since))}</span>
        </p>
    }
    .into_any()
}

/// How many fire, in the navigation.
#[component]
pub fn AlertCount() -> impl IntoView {
    let store = expect_context::<Store>();
    let loud = loud(store);
    live(move || {
        let (n, class) = loud.with(|l| {
            let worst = l.first().map(|a| severity_class(&a.severity));
            (l.len(), worst)
        });
        let badge = class.map(|class| {
            view! {
                <span class=format!("count {class}") data-testid="alert-count">
                    {n}<span class="sr-only">{t(W::FiringAfter)}</span>
                </span>
            }
            .into_any()
        });
        badge.into_iter().collect()
    })
}

/// How many alerts of a service fire, as a link to them.
#[component]
pub fn FiringLink(
    /// The service.
    #[prop(into)]
    service: Signal<Option<Service>>,
) -> impl IntoView {
    let firing =
        memo(move || service.with(|s| s.as_ref().map(|s| (s.n_firing, address::escape(&s.name)))));
    live(move || {
        let link = firing.get().filter(|(n, _)| *n > 0).map(|(n, name)| {
            let words = if n == 1 { t(W::OneAlert).to_owned() } else { phrases::alerts(&n.to_string()) };
            view! {
                <a class="badge firing-link" href=format!("/alerts?service={name}") data-testid="firing-link">
                    {words}
                </a>
            }
            .into_any()
        });
        link.into_iter().collect()
    })
}
