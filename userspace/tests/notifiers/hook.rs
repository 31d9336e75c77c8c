//! Hooks by HTTPS.

use std::path::Path;
use std::process::Command;

use modeltap_core::alert::AlertState;
use modeltap_export::notify::{Endpoint, Notifiers, Settings};

use crate::child::Server;
use crate::{alert, authority, n_deliveries};

fn start(folder: &Path) -> (Server, Notifiers) {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/notifiers/hook_server.py"
    );
    let server = Server::start(
        Command::new("/usr/bin/python3")
            .arg(script)
            .args([folder.join("server.crt"), folder.join("server.key")]),
    );
    let url = format!("https://localhost:{}/services/T/B/x", server.line());
    let settings = Settings {
        slack: Some(Endpoint::parse_encrypted(&url).unwrap()),
        ..Settings::default()
    };
    (server, Notifiers::start(settings).unwrap())
}

#[tokio::test]
async fn hook_is_called_by_tls() {
    let Some(folder) = authority::trusted("hook::hook_is_called_by_tls") else {
        return;
    };
    let (server, notifiers) = start(&folder);
    notifiers.notify(&[alert("e1", AlertState::Firing)]);
    let rows = n_deliveries(&notifiers, 1).await;
    assert_eq!(rows[0].error, None);
    assert!(server.line().contains("Error rate"));
}

#[tokio::test]
async fn hook_that_nobody_vouches_for_is_told_nothing() {
    let folder = tempfile::tempdir().unwrap();
    authority::make(folder.path());
    let (server, notifiers) = start(folder.path());
    let row = notifiers.test("slack").await.unwrap();
    let error = row.error.unwrap();
    assert!(error.contains("certificate"), "{error}");
    assert!(!error.contains("/services"), "{error}");
    assert!(server.rest().is_empty());
}
