use std::os::unix::net::UnixListener;

use bollard::models::{ContainerConfig, ContainerState};

use super::*;

fn hierarchy() -> Hierarchy {
    Hierarchy::find().unwrap()
}

async fn next(events: &mut mpsc::Receiver<DiscoveryEvent>) -> DiscoveryEvent {
    events.recv().await.unwrap()
}

async fn reason(events: &mut mpsc::Receiver<DiscoveryEvent>) -> String {
    match next(events).await {
        DiscoveryEvent::State(DockerState::Unreachable { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn missing_socket_is_told_once_and_tried_until_nobody_listens() {
    let (sender, mut events) = mpsc::channel(8);
    let config = Config {
        host: "unix:///nonexistent/docker.sock".to_owned(),
    };
    let task = tokio::spawn(watch(config, sender));
    assert_eq!(
        next(&mut events).await,
        DiscoveryEvent::State(DockerState::Connecting)
    );
    let reason = reason(&mut events).await;
    assert!(reason.contains("/nonexistent/docker.sock"), "{reason}");
    assert!(reason.contains("DOCKER_HOST"), "{reason}");
    assert!(
        timeout(Duration::from_secs(60), events.recv())
            .await
            .is_err(),
        "told twice"
    );
    drop(events);
    timeout(Duration::from_secs(1), task)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn docker_that_never_answers_is_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    // The kernel completes the connection; nobody reads what arrives on it.
    let _listener = UnixListener::bind(&path).unwrap();
    let (sender, mut events) = mpsc::channel(8);
    let before = Instant::now();
    let task = tokio::spawn(watch(
        Config {
            host: format!("unix://{}", path.display()),
        },
        sender,
    ));
    assert_eq!(
        next(&mut events).await,
        DiscoveryEvent::State(DockerState::Connecting)
    );
    let reason = reason(&mut events).await;
    assert!(reason.contains("did not answer"), "{reason}");
    assert!(before.elapsed() <= ANSWER_WITHIN + Duration::from_secs(1));
    task.abort();
}

#[tokio::test]
async fn foreign_scheme_is_refused_by_name() {
    let error = connect("ssh://elsewhere").await.unwrap_err();
    assert!(one_line(&error).contains("ssh://elsewhere"), "{error}");
}

fn inspected(pid: i64, label: Option<(&str, &str)>) -> ContainerInspectResponse {
    let labels = label.map(|(k, v)| HashMap::from([(k.to_owned(), v.to_owned())]));
    ContainerInspectResponse {
        name: Some("/ranker".to_owned()),
        state: Some(ContainerState {
            pid: Some(pid),
            ..Default::default()
        }),
        config: Some(ContainerConfig {
            labels,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn stopped_excluded_and_foreign_containers_are_not_watched() {
    let id = ContainerId("ab".repeat(32));
    let own = i64::from(std::process::id());
    let off = Some(("modeltap.enable", "false"));
    let cases = [
        ("stopped", inspected(0, None), None),
        ("nothing known", ContainerInspectResponse::default(), None),
        ("process ended", inspected(i64::from(i32::MAX), None), None),
        ("label", inspected(own, off), Some(Known::Excluded)),
        (
            "process number went to another process",
            inspected(own, None),
            Some(Known::Ignored),
        ),
    ];
    for (name, inspected, expected) in cases {
        assert_eq!(
            classify(&id, &inspected, &hierarchy()).unwrap(),
            expected,
            "{name}"
        );
    }
}

fn watcher(events: mpsc::Sender<DiscoveryEvent>) -> Watcher {
    Watcher {
        config: Config::default(),
        events,
        known: HashMap::new(),
        n_excluded: 0,
        engine: String::new(),
        state: None,
        chronicle: Chronicle::new(unix_now()),
    }
}

fn watched(cgroup: u64, name: &str) -> Option<Known> {
    Some(Known::Watched(Box::new(Container {
        id: ContainerId("a".to_owned()),
        name: name.to_owned(),
        service: ServiceName(name.to_owned()),
        project: None,
        image: String::new(),
        cgroup: modeltap_core::connection::CgroupId(cgroup),
        pid: 5,
        routes: Vec::new(),
        inspect: modeltap_core::container::Inspect::default(),
        lifecycle: Lifecycle::default(),
        slo: modeltap_core::container::Slo::default(),
    })))
}

#[tokio::test]
async fn changes_are_told_once_and_removal_comes_before_the_new_cgroup() {
    let (sender, mut receiver) = mpsc::channel(32);
    let mut watcher = watcher(sender);
    let id = ContainerId("a".to_owned());
    let steps = [
        watched(10, "a"),
        watched(10, "a"),
        watched(10, "renamed"),
        watched(11, "renamed"),
        Some(Known::Excluded),
        None,
        None,
    ];
    for step in steps {
        watcher.set(id.clone(), step).await.unwrap();
        watcher.count_excluded().await.unwrap();
    }
    drop(watcher);
    let mut told = Vec::new();
    while let Some(event) = receiver.recv().await {
        told.push(match event {
            DiscoveryEvent::Upsert(container) => {
                format!("{} {}", container.name, container.cgroup.0)
            }
            DiscoveryEvent::Removed { cgroup, .. } => format!("removed {}", cgroup.0),
            DiscoveryEvent::Excluded(n) => format!("excluded {n}"),
            DiscoveryEvent::Engine(version) => format!("engine {version}"),
            DiscoveryEvent::State(state) => format!("{state:?}"),
            DiscoveryEvent::Happened(event) => format!("{event:?}"),
        });
    }
    let expected = [
        "a 10",
        "renamed 10",
        "removed 10",
        "renamed 11",
        "removed 11",
        "excluded 1",
        "excluded 0",
    ];
    assert_eq!(told, expected);
}

#[test]
fn reason_is_one_bounded_line() {
    let source = BollardError::DockerStreamError {
        error: "x\ny".repeat(500),
    };
    let line = one_line(&SessionError::Call {
        call: "send events",
        source,
    });
    assert!(line.starts_with("Docker failed to send events: "), "{line}");
    assert!(
        line.len() <= MAX_REASON_BYTES && !line.contains('\n'),
        "{line}"
    );
}
