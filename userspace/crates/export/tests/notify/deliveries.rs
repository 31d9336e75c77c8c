//! What is sent when, and what is recorded of it.

use std::time::Duration;

use modeltap_core::alert::{Alert, AlertState, Delivery};
use modeltap_export::notify::{
    Channel, Notifiers, PagerDutySettings, RoutingKey, Secret, Settings, TestError, Timing,
};
use tokio::time::Instant;

use crate::sink::{Reply, Sink};
use crate::support::{
    alert, deliveries, deliveries_until, endpoint, firing, resolved, timing, told, webhook,
};

#[tokio::test]
async fn receiver_that_fails_twice_gets_the_alert_the_third_time() {
    let broken = Reply::Answer(500, "", "try\r\nlater".to_owned());
    let mut sink = Sink::start([broken.clone(), broken]);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    notifiers.notify(&[firing("e1")]);

    let rows = deliveries(&notifiers, 3).await;
    assert_eq!(
        told(&rows),
        [
            (1, Some("answered 500: try later"), true),
            (2, Some("answered 500: try later"), true),
            (3, None, false),
        ]
    );
    assert!(
        rows.iter()
            .all(|row| &*row.notifier == "webhook" && &*row.alert == "e1")
    );
    let first = sink.next().await;
    assert_eq!(first.line, "POST /hook");
    assert_eq!(sink.next().await.body, first.body);
    assert_eq!(sink.next().await.body, first.body);
    assert!(sink.rest().is_empty());

    let stats = notifiers.stats();
    assert_eq!(stats.len(), 1);
    assert_eq!(
        (stats[0].delivered, stats[0].retried, stats[0].failed),
        (1, 2, 0)
    );
    let state = &notifiers.list()[0];
    assert_eq!(state.target, Some(sink.address.to_string()));
    assert_eq!(state.last.as_ref(), rows.last());
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let busy = Reply::Answer(429, "Retry-After: 1\r\n", String::new());
    let mut sink = Sink::start([busy]);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    notifiers.notify(&[firing("e1"), alert("e2", "other", AlertState::Firing)]);
    let first = sink.next().await.at;
    // Another message is not sent meanwhile either.
    let waited = sink.next().await.at - first;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    let _ = sink.next().await;
    let rows = deliveries(&notifiers, 3).await;
    assert_eq!(rows[0].error.as_deref(), Some("answered 429"));
}

#[tokio::test]
async fn refusal_is_final() {
    let mut sink = Sink::start([Reply::Answer(404, "", "no_service".to_owned())]);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    notifiers.notify(&[firing("e1")]);
    let rows = deliveries(&notifiers, 1).await;
    assert_eq!(told(&rows), [(1, Some("answered 404: no_service"), false)]);
    // The next alert is tried as any.
    notifiers.notify(&[firing("e2")]);
    assert_eq!(told(&deliveries(&notifiers, 1).await), [(1, None, false)]);
    assert_eq!(sink.rest().len(), 2);
    assert_eq!(notifiers.stats()[0].failed, 1);
}

#[tokio::test]
async fn receiver_that_is_not_there_is_tried_until_given_up() {
    // Bound once, so that nobody else listens there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", gone.local_addr().unwrap());
    drop(gone);
    let settings = Settings {
        slack: Some(endpoint(&url)),
        timing: Timing {
            give_up: Duration::from_millis(300),
            ..timing()
        },
        ..Settings::default()
    };
    let notifiers = Notifiers::start(settings).unwrap();
    notifiers.notify(&[firing("e1")]);
    let rows = deliveries_until(&notifiers, |rows| !rows[rows.len() - 1].will_retry).await;
    assert!(rows.len() >= 4, "{rows:?}");
    for row in &rows {
        let error = row.error.as_deref().unwrap();
        assert_eq!(error, "no connection: Connection refused (os error 111)");
    }
    let stats = notifiers.stats()[0];
    assert_eq!((stats.failed, stats.n_queued), (1, 0));
}

#[tokio::test]
async fn end_is_told_after_its_beginning_though_that_failed_first() {
    let mut sink = Sink::start([Reply::status(500), Reply::Close, Reply::status(503)]);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    notifiers.notify(&[firing("e1")]);
    notifiers.notify(&[resolved("e1")]);
    let _ = deliveries(&notifiers, 5).await;
    let states: Vec<_> = sink
        .rest()
        .iter()
        .map(|request| request.body["status"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["firing", "firing", "firing", "firing", "resolved"]);
}

#[tokio::test]
async fn alerts_of_one_second_are_one_message_a_service() {
    let mut sink = Sink::start([]);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    notifiers.notify(&[
        firing("e1"),
        alert("e2", "other", AlertState::Firing),
        firing("e3"),
        alert("e4", "api", AlertState::Pending),
        resolved("e5"),
    ]);
    let rows = deliveries(&notifiers, 4).await;
    assert!(rows.iter().all(|row| &*row.alert != "e4"));
    let groups: Vec<Vec<String>> = sink
        .rest()
        .iter()
        .map(|request| {
            let alerts = request.body["alerts"].as_array().unwrap();
            alerts
                .iter()
                .map(|alert| alert["fingerprint"].as_str().unwrap().to_owned())
                .collect()
        })
        .collect();
    assert_eq!(groups, [vec!["e1", "e3", "e5"], vec!["e2"]]);
}

#[tokio::test]
async fn silenced_alert_is_recorded_and_not_sent() {
    let mut sink = Sink::start([]);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    let silenced = Alert {
        silenced_by: Some("s1".into()),
        ..firing("e1")
    };
    notifiers.notify(&[silenced]);
    let rows = deliveries(&notifiers, 1).await;
    assert_eq!(told(&rows), [(0, Some("silenced by s1"), false)]);
    // Its silence ends: now it is told.
    notifiers.notify(&[firing("e1")]);
    assert_eq!(told(&deliveries(&notifiers, 1).await), [(1, None, false)]);
    assert_eq!(sink.rest().len(), 1);
    assert_eq!(notifiers.stats()[0].silenced, 1);
}

#[tokio::test]
async fn receiver_that_hangs_delays_no_other() {
    let mut hanging = Sink::start(std::iter::repeat_n(Reply::Hang, 50));
    let mut slack = Sink::start([]);
    let settings = Settings {
        slack: Some(endpoint(&slack.url("/services/T/B/x"))),
        timing: Timing {
            answer: Duration::from_millis(400),
            ..timing()
        },
        ..webhook(&hanging)
    };
    let notifiers = Notifiers::start(settings).unwrap();
    notifiers.notify(&[firing("e1")]);
    let _ = slack.next().await;
    let rows = deliveries(&notifiers, 2).await;
    assert_eq!(&*rows[0].notifier, "slack");
    assert_eq!(
        told(&rows[1..]),
        [(1, Some("no answer within 400ms"), true)]
    );
    let _ = hanging.next().await;
    // And the daemon's end waits for neither.
    let began = Instant::now();
    notifiers.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn what_was_not_sent_at_the_end_is_sent_after_the_restart() {
    let mut sink = Sink::start([Reply::Hang]);
    let mut settings = webhook(&sink);
    settings.timing.stop = Duration::from_millis(100);
    let notifiers = Notifiers::start(settings).unwrap();
    notifiers.notify(&[firing("e1")]);
    let _ = sink.next().await;
    notifiers.notify(&[alert("e2", "other", AlertState::Firing)]);
    let began = Instant::now();
    notifiers.stop().await;
    // An answer would be waited for three times as long.
    assert!(began.elapsed() < Duration::from_secs(5));
    notifiers.notify(&[alert("e3", "late", AlertState::Firing)]);
    let mut rows = notifiers.take_deliveries();
    let why = Some("the daemon ended before it was sent");
    assert_eq!(told(&rows), [(0, why, true); 3]);
    assert_eq!(notifiers.test("webhook").await, Err(TestError::Stopping));

    let taken = Delivery {
        alert: "e4".into(),
        n_attempts: 1,
        error: None,
        will_retry: false,
        ..rows[0].clone()
    };
    rows.push(taken);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    let alerts = [
        firing("e1"),
        alert("e2", "other", AlertState::Firing),
        alert("e3", "late", AlertState::Firing),
        alert("e4", "known", AlertState::Firing),
    ];
    notifiers.resume(&alerts, &rows);
    // The alert rules still see them fire.
    notifiers.notify(&alerts);
    let rows = deliveries(&notifiers, 3).await;
    let ids: Vec<_> = rows.iter().map(|row| &*row.alert).collect();
    assert_eq!(ids, ["e1", "e2", "e3"]);
    assert_eq!(sink.rest().len(), 3);
}

#[tokio::test]
async fn queue_without_room_drops_the_oldest_and_says_so() {
    let mut sink = Sink::start([Reply::Hang]);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    notifiers.notify(&[firing("under way")]);
    let _ = sink.next().await;
    let alerts: Vec<_> = (0..1000)
        .map(|n| alert(&format!("e{n}"), &format!("s{n}"), AlertState::Firing))
        .collect();
    notifiers.notify(&alerts);
    let rows = deliveries(&notifiers, 1).await;
    assert_eq!(&*rows[0].alert, "e0");
    let why = Some("too many messages wait: the oldest gave way");
    assert_eq!(told(&rows), [(0, why, false)]);
    let stats = notifiers.stats()[0];
    assert_eq!((stats.dropped, stats.n_queued), (1, 1000));
}

#[tokio::test]
async fn what_is_due_is_sent_before_the_end() {
    let mut sink = Sink::start([]);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    let alerts: Vec<_> = (0..20)
        .map(|n| alert(&format!("e{n}"), &format!("s{n}"), AlertState::Firing))
        .collect();
    notifiers.notify(&alerts);
    notifiers.stop().await;
    let rows = notifiers.take_deliveries();
    assert_eq!(told(&rows), vec![(1, None, false); 20]);
    assert_eq!(sink.rest().len(), 20);
}

#[tokio::test]
async fn alertmanager_is_told_again_while_it_fires() {
    let mut sink = Sink::start([
        Reply::status(200),
        Reply::status(200),
        // Away for two tellings.
        Reply::Close,
        Reply::status(503),
    ]);
    let settings = Settings {
        alertmanager: Some(endpoint(&sink.url("/prefix/"))),
        timing: Timing {
            refresh: Duration::from_millis(100),
            ..timing()
        },
        ..Settings::default()
    };
    let notifiers = Notifiers::start(settings).unwrap();
    notifiers.notify(&[firing("e1")]);
    let mut times = Vec::new();
    for _ in 0..6 {
        let request = sink.next().await;
        assert_eq!(request.line, "POST /prefix/api/v2/alerts");
        assert_eq!(request.body[0]["startsAt"], "2026-11-24T03:20:07.000Z");
        times.push(request.at);
    }
    assert!(
        times[1] - times[0] >= Duration::from_millis(90),
        "{times:?}"
    );
    let rows = deliveries(&notifiers, 3).await;
    assert_eq!(rows[0].error, None);
    assert!(rows[1].error.is_some() && rows[1].will_retry, "{rows:?}");
    assert_eq!((rows[2].n_attempts, &rows[2].error), (3, &None), "{rows:?}");

    notifiers.notify(&[resolved("e1")]);
    loop {
        let request = sink.next().await;
        if request.body[0]["endsAt"] == "2026-11-24T03:21:40.000Z" {
            break;
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sink.rest().len(), 0, "what is over is not told again");
}

#[tokio::test]
async fn alertmanager_that_refuses_what_it_knew_hears_of_others_at_once() {
    let mut sink = Sink::start([Reply::status(200), Reply::status(400)]);
    let settings = Settings {
        alertmanager: Some(endpoint(&sink.url(""))),
        timing: Timing {
            refresh: Duration::from_millis(50),
            // Were it taken for down, it would be left alone for an hour.
            backoff: Duration::from_secs(3600),
            backoff_cap: Duration::from_secs(3600),
            ..timing()
        },
        ..Settings::default()
    };
    let notifiers = Notifiers::start(settings).unwrap();
    notifiers.notify(&[firing("e1")]);
    for _ in 0..2 {
        let _ = sink.next().await;
    }
    notifiers.notify(&[alert("e2", "other", AlertState::Firing)]);
    let is_told = |rows: &[Delivery]| rows.iter().any(|row| &*row.alert == "e2");
    let rows = deliveries_until(&notifiers, is_told).await;
    assert_eq!(rows[1].error.as_deref(), Some("answered 400"), "{rows:?}");
    assert!(rows[2..].iter().all(|row| row.error.is_none()), "{rows:?}");
}

#[tokio::test]
async fn test_is_sent_once_and_tells_how_it_went() {
    let key = "0123456789abcdef0123456789abcdef";
    let mut hook = Sink::start([Reply::status(500)]);
    let mut pagerduty = Sink::start([]);
    let mut settings = webhook(&hook);
    settings.webhook.as_mut().unwrap().token = Some(Secret::parse("token").unwrap());
    settings.pagerduty = Some(PagerDutySettings {
        routing_key: RoutingKey::parse(key).unwrap(),
        url: Some(endpoint(&pagerduty.url("/v2/enqueue"))),
    });
    let notifiers = Notifiers::start(settings).unwrap();

    let row = notifiers.test("webhook").await.unwrap();
    assert_eq!(row.error.as_deref(), Some("answered 500"));
    assert_eq!(
        (&*row.alert, row.n_attempts, row.will_retry),
        ("test", 1, false)
    );
    let row = notifiers.test("webhook").await.unwrap();
    assert_eq!(row.error, None);
    let request = hook.next().await;
    assert!(
        request
            .headers
            .contains(&"authorization: bearer token".to_owned())
    );
    assert!(
        request
            .headers
            .contains(&"content-type: application/json".to_owned())
    );

    // No incident stays open.
    notifiers.test("pagerduty").await.unwrap();
    assert_eq!(pagerduty.next().await.body["event_action"], "trigger");
    assert_eq!(pagerduty.next().await.body["event_action"], "resolve");

    assert_eq!(notifiers.test("slack").await, Err(TestError::NotConfigured));
    assert_eq!(notifiers.test("fax").await, Err(TestError::Unknown));
    let rows = deliveries(&notifiers, 3).await;
    assert_eq!(notifiers.list()[2].last.as_ref(), rows.last());
    let listed: Vec<_> = notifiers.list().iter().map(|state| state.channel).collect();
    assert_eq!(listed, Channel::ALL);
    assert_eq!(notifiers.list()[1].target, None);
}

#[tokio::test]
async fn second_test_at_a_time_is_refused() {
    let mut sink = Sink::start([Reply::Hang]);
    let mut settings = webhook(&sink);
    settings.timing.answer = Duration::from_millis(200);
    let notifiers = Notifiers::start(settings).unwrap();
    let first = tokio::spawn({
        let notifiers = notifiers.clone();
        async move { notifiers.test("webhook").await }
    });
    let _ = sink.next().await;
    assert_eq!(notifiers.test("webhook").await, Err(TestError::Busy));
    let error = first.await.unwrap().unwrap().error;
    assert_eq!(error.as_deref(), Some("no answer within 200ms"));
    assert_eq!(notifiers.test("webhook").await.unwrap().error, None);
}
