//! Starts that cannot succeed: one line that names the cause and the next
//! step, an exit status that is not zero, and nothing damaged.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use modeltap_testbed::daemon::{Failure, Start, run_to_end};
use modeltap_testbed::ground;

use crate::{start, watch};

#[track_caller]
fn check(failure: &Failure, words: &[&str]) {
    assert!(
        !failure.status.success() && failure.status.code().is_some(),
        "{failure:?}"
    );
    let lines: Vec<_> = failure
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert_eq!(lines.len(), 1, "not one line:\n{}", failure.stderr);
    for word in words {
        assert!(lines[0].contains(word), "no {word:?} in {:?}", lines[0]);
    }
}

#[test]
fn user_without_privileges_is_told_what_is_needed() {
    let Some(_ground) = ground::take("not-root") else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let asked = start(&data.path().join("data")).command();
    // Where the clone is, nobody else may be allowed to look.
    let binary = copy_with_libraries(Path::new(asked.get_program()), data.path());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(&binary).args(asked.get_args());
    check(&run_to_end(&mut command), &["root"]);
}

/// Copies a binary and the libraries beside it, to be run by anyone.
fn copy_with_libraries(binary: &Path, to: &Path) -> PathBuf {
    let folder = binary.parent().expect("a file has a folder");
    let beside = fs::read_dir(folder).expect("the binary's folder can be listed");
    let beside = beside.map(|entry| entry.expect("the binary's folder can be listed").path());
    let libraries = beside.filter(|path| path.extension().is_some_and(|kind| kind == "so"));
    for file in libraries.chain([binary.to_owned()]) {
        let copy = to.join(file.file_name().expect("a listed file has a name"));
        fs::copy(&file, &copy).expect("a file can be copied");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))
            .expect("our own copy can be opened to all");
    }
    to.join(binary.file_name().expect("a binary has a name"))
}

#[test]
fn port_in_use_is_named() {
    let Some(_ground) = ground::take("port-in-use") else {
        return;
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let data = tempfile::tempdir().unwrap();
    check(
        &start(data.path()).listen(address).fails(),
        &[&address.to_string(), "--listen"],
    );
}

#[test]
fn data_directory_that_cannot_be_made_is_named() {
    let Some(_ground) = ground::take("data-directory") else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("a-file");
    fs::write(&file, "kept").unwrap();
    let failure = start(&file.join("data")).fails();
    check(&failure, &["a-file/data", "--data-dir"]);
    assert_eq!(fs::read_to_string(file).unwrap(), "kept");
}

#[test]
fn second_daemon_on_the_same_history_is_refused_and_the_first_goes_on() {
    let Some(_ground) = ground::take("second-daemon") else {
        return;
    };
    let watch = watch();
    let data = watch.daemon.same_again().data;
    check(&start(&data).fails(), &["modeltap.duckdb", "--data-dir"]);
    assert!(watch.daemon.status().store.ok);
    watch.daemon.stop();
}

#[track_caller]
fn configured(data: &Path, text: &str) -> Start {
    let file = data.join("broken.toml");
    fs::write(&file, text).expect("the configuration can be written");
    start(data).arg("--config").arg(&file.to_string_lossy())
}

#[test]
fn broken_configuration_is_named_with_its_origin() {
    let Some(_ground) = ground::take("configuration") else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    check(
        &configured(data.path(), "lissten = \"x\"\n").fails(),
        &["lissten", "broken.toml"],
    );
    check(
        &configured(data.path(), "listen = [\n").fails(),
        &["broken.toml"],
    );
    check(
        &start(data.path())
            .env("MODELTAP_RING_BYTES", "plenty")
            .fails(),
        &["RING_BYTES", "MODELTAP_", "plenty"],
    );
    assert!(
        !data.path().join("modeltap.duckdb").exists(),
        "nothing was begun"
    );
}

#[test]
fn file_that_is_no_database_makes_way_and_is_kept() {
    let Some(_ground) = ground::take("no-database") else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("modeltap.duckdb");
    let text = "somebody's notes\n".repeat(1_000);
    fs::write(&file, &text).unwrap();
    let daemon = start(data.path()).ready();
    let store = daemon.status().store;
    assert!(store.ok, "{store:?}");
    let notice = store.notice.expect("it is told what became of the file");
    let kept: Vec<_> = fs::read_dir(data.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("foreign"))
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(fs::read_to_string(&kept[0]).unwrap(), text);
    let name = kept[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(notice.contains(&name), "{notice}");
    daemon.stop();
}
