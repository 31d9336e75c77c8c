//! What is watched, and what is not.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;
use std::{fs, thread};

use modeltap_testbed::client::{Connection, Request};
use modeltap_testbed::docker::{Container, Spec, docker};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Reuse, Target};
use modeltap_testbed::truth;

use crate::tap::cgroup_directory;
use crate::watch;

const GO: &str = "/srv/go-server";
/// Long enough for anything seen to be told.
const SETTLE: Duration = Duration::from_millis(1_500);

/// Answers `n` connections on the host, each with one request.
fn serve_outside(listener: &TcpListener, n: usize) {
    for _ in 0..n {
        let (mut stream, _) = listener.accept().expect("a client connects");
        let mut request = [0; 1024];
        let n = stream.read(&mut request).expect("the client sends");
        assert!(n > 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .expect("the client waits for the answer");
    }
}

#[test]
fn server_outside_the_containers_leaves_no_trace() {
    let Some(_ground) = ground::take("outside") else {
        return;
    };
    let watch = watch();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| serve_outside(&listener, 50));
        for _ in 0..50 {
            let mut connection = Connection::open(address).unwrap();
            connection
                .send(&Request::get("/outside-of-all-containers"))
                .unwrap();
            assert_eq!(connection.receive().unwrap().status, 200);
        }
    });
    thread::sleep(SETTLE);
    for path in [
        "/metrics",
        "/api/v1/services",
        "/api/v1/requests?limit=2000",
    ] {
        let text = watch.daemon.get(path);
        assert!(
            !text.contains("outside-of-all-containers"),
            "{path}: {text}"
        );
    }
    watch.daemon.stop();
}

#[test]
fn container_that_a_label_leaves_out_leaves_no_trace_but_its_number() {
    let Some(_ground) = ground::take("disabled") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let before = watch.daemon.status().docker.n_excluded;
    let spec = Spec::new(&image, GO).label("modeltap.enable=false");
    let container = Container::start("disabled", &spec).listening(8000);
    let plans = vec![(Reuse::Close, load::mix(40))];
    assert_eq!(load::run(Target::inside(&container, 8000), plans).len(), 40);
    thread::sleep(SETTLE);
    for path in [
        "/metrics",
        "/api/v1/services",
        "/api/v1/requests?limit=2000",
    ] {
        let text = watch.daemon.get(path);
        assert!(!text.contains(container.name()), "{path}: {text}");
    }
    assert_eq!(watch.daemon.status().docker.n_excluded, before + 1);
    watch.daemon.stop();
}

#[test]
fn what_a_container_asks_others_is_not_its_own() {
    let Some(_ground) = ground::take("asks-others") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let server = Container::start("asked", &Spec::new(&image, GO)).listening(8000);
    let network = format!("container:{}", server.id());
    let client = Container::start("asking", &Spec::new(&image, "sleep 60").network(network));
    watch.daemon.await_service(server.name());
    watch.daemon.await_service(client.name());
    let ask = "import urllib.request as u\n\
        for i in range(25): u.urlopen('http://127.0.0.1:8000/items/7').read()";
    client.execute(&["python3", "-c", ask]);
    watch.daemon.await_requests(server.name(), 25);
    assert_eq!(watch.daemon.n_requests(client.name()), 0);
    watch.daemon.stop();
}

#[test]
fn labels_group_containers_into_one_service_with_its_routes() {
    let Some(_ground) = ground::take("labels") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let name = format!("scoring-{}", std::process::id());
    let spec = Spec::new(&image, GO)
        .label(&format!("modeltap.service={name}"))
        .label("modeltap.routes=/items/{article}");
    let containers: Vec<_> = (0..2)
        .map(|_| Container::start("instance", &spec).listening(8000))
        .collect();
    let mut sent = 0;
    for container in &containers {
        watch.daemon.await_service(&name);
        sent += load::run(
            Target::inside(container, 8000),
            vec![(Reuse::KeepAlive, load::mix(20))],
        )
        .len();
    }
    watch.daemon.await_requests(&name, sent);
    let service = watch.daemon.service(&name).unwrap();
    assert_eq!(service.containers.len(), 2);
    let n_items = |route: &str| -> u64 {
        let totals = service.totals.iter().filter(|total| total.route == route);
        totals.map(|total| total.n_requests).sum()
    };
    assert_eq!(
        (n_items("/items/{article}"), n_items("/items/{id}")),
        (14, 0)
    );
    watch.daemon.stop();
}

#[test]
fn compose_labels_name_the_service_and_its_project() {
    let Some(_ground) = ground::take("compose") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let name = format!("ranker-{}", std::process::id());
    let spec = Spec::new(&image, GO)
        .label("com.docker.compose.project=shop")
        .label(&format!("com.docker.compose.service={name}"));
    let _container = Container::start("shop-ranker", &spec);
    watch.daemon.await_service(&name);
    assert_eq!(
        watch.daemon.service(&name).unwrap().project.as_deref(),
        Some("shop")
    );
    watch.daemon.stop();
}

#[test]
fn published_port_is_counted_once() {
    let Some(_ground) = ground::take("published") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let spec = Spec::new(&image, GO)
        .network("bridge")
        .more("--publish 127.0.0.1:0:8000");
    let container = Container::start("published", &spec).listening(8000);
    watch.daemon.await_service(container.name());
    let published = docker(&["port", container.id(), "8000/tcp"]);
    let port = published.rsplit_once(':').unwrap().1.parse().unwrap();
    let plans = load::spread(load::mix(80));
    let rows = load::run(Target::here(port), plans);
    watch.daemon.await_requests(container.name(), rows.len());
    let service = watch.daemon.service(container.name()).unwrap();
    assert_eq!(truth::totals(&service), truth::sent(&rows));
    watch.daemon.stop();
}

#[test]
fn container_on_the_hosts_network_is_watched_and_its_neighbours_are_not() {
    let Some(_ground) = ground::take("host-network") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let command = format!("uvicorn fastapi_app:app --host 127.0.0.1 --port {free}");
    let spec = Spec::new(&image, &command).network("host");
    let container = Container::start("host-network", &spec).listening(free);
    watch.daemon.await_service(container.name());
    let rows = load::run(Target::here(free), load::spread(load::mix(80)));
    watch.daemon.await_requests(container.name(), rows.len());
    let service = watch.daemon.service(container.name()).unwrap();
    assert_eq!(truth::totals(&service), truth::sent(&rows));
    // In a network that others use too, arrivals are told by the port.
    for record in watch.daemon.requests(container.name()) {
        assert!(record.felt.is_some(), "{record:?}");
    }
    watch.daemon.stop();
}

#[test]
fn server_in_a_nested_cgroup_belongs_to_its_container() {
    let Some(_ground) = ground::take("nested") else {
        return;
    };
    let image = images::servers();
    let container = Container::start("nested", &Spec::new(&image, GO)).listening(8000);
    let nested = cgroup_directory(&container).join("model/worker");
    fs::create_dir_all(&nested).unwrap();
    fs::write(nested.join("cgroup.procs"), container.pid().to_string()).unwrap();
    let watch = watch();
    watch.daemon.await_service(container.name());
    let rows = load::run(
        Target::inside(&container, 8000),
        load::spread(load::mix(80)),
    );
    watch.daemon.await_requests(container.name(), rows.len());
    watch.daemon.stop();
}

#[test]
fn ipv6_and_mapped_addresses_are_told_as_they_are() {
    let Some(_ground) = ground::take("ipv6") else {
        return;
    };
    let image = images::servers();
    let sysctl = "--sysctl net.ipv6.conf.all.disable_ipv6=0 \
                  --sysctl net.ipv6.conf.lo.disable_ipv6=0";
    let spec = Spec::new(&image, GO).more(sysctl);
    let container = Container::start("ipv6", &spec).listening(8000);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let mut rows = Vec::new();
    // The second comes to the same socket, as ::ffff:127.0.0.1.
    for address in ["[::1]:8000", "127.0.0.1:8000"] {
        let target = Target {
            address: address.parse().unwrap(),
            namespace_of: Some(container.pid()),
        };
        rows.push(load::run(target, load::spread(load::mix(40))));
    }
    watch.daemon.await_requests(container.name(), 80);
    let records = watch.daemon.requests(container.name());
    for (rows, peer) in rows.iter().zip(["::1", "127.0.0.1"]) {
        let records: Vec<_> = records
            .iter()
            .filter(|record| record.peer_address == peer)
            .cloned()
            .collect();
        truth::check_times(&truth::join(rows, &records));
        assert!(records.iter().all(|record| record.felt.is_some()));
    }
    watch.daemon.stop();
}
