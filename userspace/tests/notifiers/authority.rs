//! A certificate authority of a test's own, trusted as a host's administrator
//! would have it trusted.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder of the authority that a test was started again with.
const AUTHORITY: &str = "MODELTAP_TEST_AUTHORITY";

/// Runs the test of this path again in a process that trusts an authority of
/// its own; there, returns the authority's folder. What is trusted is read
/// from the environment, which a running process cannot change safely.
pub fn trusted(test: &str) -> Option<PathBuf> {
    if let Some(folder) = env::var_os(AUTHORITY) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(AUTHORITY, folder.path())
        .env("SSL_CERT_FILE", folder.path().join("ca.crt"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    None
}

/// Certificates for `localhost`: `server.crt` of an authority of its own,
/// `ca.crt`.
pub fn make(folder: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .expect("openssl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
    };
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(&format!(
        "{new} -keyout ca.key -out ca.crt -subj /CN=test-authority"
    ));
    openssl(&format!(
        "{new} -keyout server.key -out server.crt -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
         -CA ca.crt -CAkey ca.key"
    ));
}
