//! Real containers that want for processor and memory: their alerts fire, and
//! are over once they are left alone.

use std::time::Duration;

use modeltap_api_types::{AlertRule, AlertRules};
use modeltap_testbed::clock::{await_some, await_that};
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::Container;
use modeltap_testbed::ground;
use modeltap_testbed::images;

use crate::alerts::{JSON, active, alerts, send};
use crate::resources::shell;
use crate::watch;

const OOM_KILLS: &str = "default:oom_kills";
const THROTTLED: &str = "default:throttled";
/// A few looks, the rule's seconds, and a busy host.
const WITHIN: Duration = Duration::from_secs(30);

/// Makes a rule that is on from the start look back on seconds, not minutes.
fn hasten(daemon: &Daemon, id: &str) {
    let rules: AlertRules = daemon.json("/api/v1/alert-rules");
    let rule = rules.rules.into_iter().find(|rule| rule.id == id);
    let rule = AlertRule {
        window_seconds: 4,
        for_seconds: rule.as_ref().map_or(0, |rule| rule.for_seconds.min(1)),
        keep_firing_seconds: 1,
        ..rule.expect("it is on from the start")
    };
    let body = serde_json::to_string(&rule).expect(JSON);
    let changed = send(
        daemon,
        "PUT",
        &format!("/api/v1/alert-rules/{id}"),
        Some(body),
    );
    assert_eq!(changed.status, 200, "{changed:?}");
}

#[test]
fn kill_for_want_of_memory_and_throttling_fire_and_are_over() {
    let Some(_ground) = ground::take("alert-resources") else {
        return;
    };
    let image = images::servers();
    // Each does as its file says, and is otherwise at rest. On a busy host a
    // larger quota may never be used up.
    let script = "mkfifo /tmp/go; read line < /tmp/go; while [ -e /tmp/go ]; do :; done; sleep 600";
    let slow = shell(&image, script).more("--cpus 0.05");
    let script = "while :; do [ -e /tmp/go ] && rm /tmp/go && tail /dev/zero; sleep 0.1; done";
    let greedy = shell(&image, script).more("--memory 24m --memory-swap 24m");
    let slow = Container::start("alert-slow", &slow);
    let greedy = Container::start("alert-greedy", &greedy);
    let watch = watch();
    let daemon = &watch.daemon;
    for (container, rule) in [(&slow, THROTTLED), (&greedy, OOM_KILLS)] {
        daemon.await_service(container.name());
        hasten(daemon, rule);
    }
    let names = [slow.name(), greedy.name()];
    let firing = || {
        let mut found = alerts(daemon, "?state=firing").active;
        found.retain(|alert| names.contains(&&*alert.service));
        found
    };
    assert!(firing().is_empty(), "nothing is wrong yet: {:?}", firing());

    for container in [&slow, &greedy] {
        container.execute(&["sh", "-c", "echo > /tmp/go"]);
    }
    let fires = |container: &Container, rule: &str| {
        let what = format!("{rule} of {}", container.name());
        await_some(&what, WITHIN, || {
            active(daemon, container.name(), rule, "firing")
        })
    };
    let kill = fires(&greedy, OOM_KILLS);
    assert_eq!((kill.value, &*kill.severity), (Some(1.0), "critical"));
    let throttled = fires(&slow, THROTTLED);
    let share = throttled.value.expect("it is known");
    assert!((0.25..=1.0).contains(&share), "{throttled:?}");

    slow.execute(&["rm", "/tmp/go"]);
    await_that("both to be over", WITHIN, || {
        let over = alerts(daemon, "?state=resolved").history;
        let is_over = |id: &str| over.iter().any(|alert| alert.id == id);
        is_over(&kill.id) && is_over(&throttled.id)
    });
    assert!(
        firing().is_empty(),
        "nothing is wrong any longer: {:?}",
        firing()
    );
    watch.daemon.stop();
}
