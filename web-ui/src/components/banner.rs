//! What is wrong, said above every page: with services, and with modeltap
//! itself.

use leptos::prelude::*;
use modeltap_api_types::DockerState;

use crate::browser;
use crate::components::alerts::AlertBanner;
use crate::format;
use crate::state::{Connection, Store};

/// Every banner that applies, the gravest first.
#[component]
pub fn Banners() -> impl IntoView {
    view! {
        <DaemonGone/>
        <AlertBanner/>
        <DockerUnreachable/>
        <NoProbes/>
        <StoreTrouble/>
    }
}

#[component]
fn DaemonGone() -> impl IntoView {
    let store = expect_context::<Store>();
    let lost = move || match store.connection.get() {
        Connection::Lost { since_ms } => Some(since_ms),
        _ => None,
    };
    let text = move |since_ms: f64| {
        if store.is_loaded() {
            format!(
                "No answer from the daemon since {}. The figures below are its last.",
                browser::time_of_day(since_ms)
            )
        } else {
            "No answer from the daemon. Is it running?".to_owned()
        }
    };
    move || {
        lost().map(|since_ms| {
            view! {
                <div class="panel banner crit" role="alert" data-testid="daemon-gone">
                    <span class="mark-shape" aria-hidden="true"></span>
                    <p><b>"Reconnecting… "</b>{text(since_ms)}</p>
                </div>
            }
        })
    }
}

#[component]
fn DockerUnreachable() -> impl IntoView {
    let store = expect_context::<Store>();
    let reason = Memo::new(move |_| {
        store.status.with(|s| {
            s.as_ref().and_then(|s| match s.docker.state {
                DockerState::Unreachable => Some(
                    s.docker
                        .reason
                        .clone()
                        .unwrap_or_else(|| "it gives no reason".to_owned()),
                ),
                _ => None,
            })
        })
    });
    move || {
        reason.get().map(|reason| {
            view! {
                <div class="panel banner warn" role="alert" data-testid="docker-unreachable">
                    <span class="mark-shape" aria-hidden="true"></span>
                    <p>
                        <b>"Docker is unreachable. "</b>
                        "New containers go unseen; those already known are still watched. It is \
                         tried again by itself. "
                        <code>{reason}</code>
                    </p>
                </div>
            }
        })
    }
}

#[component]
fn NoProbes() -> impl IntoView {
    let store = expect_context::<Store>();
    let missing = Memo::new(move |_| {
        store
            .status
            .with(|s| s.as_ref().is_some_and(|s| !s.probes.attached))
    });
    view! {
        <Show when=move || missing.get()>
            <div class="panel banner info" role="status" data-testid="no-probes">
                <span class="mark-shape" aria-hidden="true"></span>
                <p>
                    <b>"No probes attached. "</b>
                    "Nothing is captured from this host; what you see comes from a recording or \
                     from history."
                </p>
            </div>
        </Show>
    }
}

#[component]
fn StoreTrouble() -> impl IntoView {
    let store = expect_context::<Store>();
    let trouble = Memo::new(move |_| {
        store.status.with(|s| {
            let s = &s.as_ref()?.store;
            (!s.ok).then(|| (s.error.clone().unwrap_or_default(), s.rollups_dropped))
        })
    });
    let notice = Memo::new(move |_| {
        store
            .status
            .with(|s| s.as_ref().and_then(|s| s.store.notice.clone()))
    });
    let dismissed = RwSignal::new(None::<String>);
    let shown_notice = move || {
        notice
            .get()
            .filter(|n| dismissed.with(|d| d.as_ref() != Some(n)))
    };
    view! {
        {move || {
            trouble.get().map(|(error, n_dropped)| {
                let lost = match n_dropped {
                    0 => "Nothing is lost yet".to_owned(),
                    1 => "1 rollup could not be kept since the start".to_owned(),
                    n => format!("{} rollups could not be kept since the start", format::count(n)),
                };
                view! {
                    <div class="panel banner warn" role="alert" data-testid="store-error">
                        <span class="mark-shape" aria-hidden="true"></span>
                        <p>
                            <b>"History is not being written. "</b>
                            "Live figures are not affected. "{lost}
                            "; writing resumes by itself. "
                            <code>{error}</code>
                        </p>
                    </div>
                }
            })
        }}
        {move || {
            shown_notice().map(|text| {
                let dismiss = {
                    let text = text.clone();
                    move |_| dismissed.set(Some(text.clone()))
                };
                view! {
                    <div class="panel banner info" role="status" data-testid="store-notice">
                        <span class="mark-shape" aria-hidden="true"></span>
                        <p><b>"History: "</b>{text}</p>
                        <button class="quiet" on:click=dismiss>"Dismiss"</button>
                    </div>
                }
            })
        }}
    }
}
