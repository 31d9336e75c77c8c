//! What fires, said above every page and beside every service.

use leptos::prelude::*;
use modeltap_api_types::{Alert, Service};

use crate::alerts::{is_loud, sentence, severity_class};
use crate::browser;
use crate::components::parts::live;
use crate::state::Store;

/// Alerts that the banner tells of; the rest are counted.
const IN_BANNER: usize = 3;

/// The loud alerts, the worst first.
fn loud(store: Store) -> Memo<Vec<Alert>> {
    Memo::new(move |_| {
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
    let n = Memo::new(move |_| loud.with(Vec::len));
    // Said when their number changes, not with every second's figure.
    let said = move || match n.get() {
        0 => String::new(),
        1 => "1 alert fires.".to_owned(),
        n => format!("{n} alerts fire."),
    };
    let class = move || loud.with(|l| l.first().map_or("info", |a| severity_class(&a.severity)));
    let lines = live(move || loud.with(|l| l.iter().take(IN_BANNER).map(line).collect()));
    let more = move || match n.get().saturating_sub(IN_BANNER) {
        0 => "All alerts".to_owned(),
        more => format!("and {more} more"),
    };
    Effect::new(move |_| {
        let title = match n.get() {
            0 => "modeltap".to_owned(),
            n => format!("({n}) modeltap"),
        };
        document().set_title(&title);
    });
    view! {
        <p class="sr-only" role="alert">{said}</p>
        <section
            class=move || format!("panel banner firing {}", class())
            hidden=move || n.get() == 0
            aria-label="Alerts that fire"
            data-testid="alert-banner"
            data-count=move || n.get().to_string()
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
    let severity = alert.severity.clone();
    view! {
        <p data-testid="alert-line" data-service=alert.service.clone() data-rule=alert.rule.clone()>
            <span class="sr-only">{severity}": "</span>
            <a class="service" href=browser::service_href(&alert.service)>{alert.service.clone()}</a>
            <b>{alert.rule_name.clone()}</b>
            <span>{sentence(alert).to_owned()}</span>
            <span class="muted">{format!("since {}", browser::time_of_day(since))}</span>
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
                    {n}<span class="sr-only">" firing"</span>
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
    let firing = Memo::new(move |_| {
        service.with(|s| s.as_ref().map(|s| (s.n_firing, browser::escape(&s.name))))
    });
    live(move || {
        let link = firing.get().filter(|(n, _)| *n > 0).map(|(n, name)| {
            let words = if n == 1 { "1 alert".to_owned() } else { format!("{n} alerts") };
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
