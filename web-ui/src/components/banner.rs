//! What is wrong, said above every page: with services, and with modeltap
//! itself.

use leptos::prelude::*;
use modeltap_api_types::DockerState;

use crate::browser;
use crate::components::alerts::AlertBanner;
use crate::format;
use crate::reactive::{follows, memo, when};
use crate::state::{Connection, Store};
use crate::words::{W, phrases, t};

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
        if store.refused.get() {
            t(W::AsksForToken).to_owned()
        } else if store.is_loaded() {
            phrases::gone_since(&browser::time_of_day(since_ms))
        } else {
            t(W::IsItRunning).to_owned()
        }
    };
    move || {
        lost().map(|since_ms| {
            view! {
                <div class="panel banner crit" role="alert" data-testid="daemon-gone">
                    <span class="mark-shape" aria-hidden="true"></span>
                    <p><b>{t(W::ReconnectingDots)}</b>{text(since_ms)}</p>
                </div>
            }
        })
    }
}

#[component]
fn DockerUnreachable() -> impl IntoView {
    let store = expect_context::<Store>();
    let reason = memo(move || {
        store.status.with(|s| {
            s.as_ref().and_then(|s| match s.docker.state {
                DockerState::Unreachable => Some(
                    s.docker
                        .reason
                        .clone()
                        .unwrap_or_else(|| t(W::GivesNoReason).to_owned()),
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
                        <b>{t(W::DockerUnreachable)}</b>
                        {t(W::DockerUnseen)}
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
    let missing = memo(move || {
        store
            .status
            .with(|s| s.as_ref().is_some_and(|s| !s.probes.attached))
    });
    view! {
        {when(move || missing.get(), move || view! {
            <div class="panel banner info" role="status" data-testid="no-probes">
                <span class="mark-shape" aria-hidden="true"></span>
                <p>
                    <b>{t(W::NoProbes)}</b>
                    {t(W::NothingCaptured)}
                </p>
            </div>
        }.into_any())}
    }
}

#[component]
fn StoreTrouble() -> impl IntoView {
    let store = expect_context::<Store>();
    let trouble = memo(move || {
        store.status.with(|s| {
            let s = &s.as_ref()?.store;
            (!s.ok).then(|| (s.error.clone().unwrap_or_default(), s.rollups_dropped))
        })
    });
    let notice = memo(move || {
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
        {follows(move || {
            trouble.get().map(|(error, n_dropped)| {
                let lost = match n_dropped {
                    0 => t(W::NothingLostYet).to_owned(),
                    1 => t(W::OneRollupLost).to_owned(),
                    n => phrases::rollups_lost(&format::count(n)),
                };
                view! {
                    <div class="panel banner warn" role="alert" data-testid="store-error">
                        <span class="mark-shape" aria-hidden="true"></span>
                        <p>
                            <b>{t(W::HistoryNotWritten)}</b>
                            {t(W::LiveNotAffected)}{lost}
                            {t(W::WritingResumes)}
                            <code>{error}</code>
                        </p>
                    </div>
                }
            })
        })}
        {follows(move || {
            shown_notice().map(|text| {
                let dismiss = {
                    let text = text.clone();
                    move |_| dismissed.set(Some(text.clone()))
                };
                view! {
                    <div class="panel banner info" role="status" data-testid="store-notice">
                        <span class="mark-shape" aria-hidden="true"></span>
                        <p><b>{t(W::HistoryColon)}</b>{text}</p>
                        <button class="quiet" on:click=dismiss>{t(W::Dismiss)}</button>
                    </div>
                }
            })
        })}
    }
}
