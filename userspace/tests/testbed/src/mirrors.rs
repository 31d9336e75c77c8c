//! How this machine reaches its package mirrors, for builds inside containers.
//!
//! A machine may need its own mirrors, proxies and certificate authorities.
//! They are read where the machine keeps them and written to `host/` of a
//! build context; the Dockerfile uses them in stages that the result leaves
//! behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Where certificate authorities are kept, unless the environment says.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Debian's mirror of this machine, if it runs Debian and names one; otherwise
/// debootstrap has its own default.
#[must_use]
pub fn debian() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let value = |name: &str| {
        let line = release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    if value("ID")? != "debian" {
        return None;
    }
    let codename = value("VERSION_CODENAME")?;
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let listed = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    files.extend(listed.map(|entry| entry.path()));
    files.sort();
    let texts = files
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    texts
        .into_iter()
        .find_map(|text| mirror_of(&text, &codename))
}

/// The mirror of a suite in a file of either format that apt reads.
fn mirror_of(sources: &str, suite: &str) -> Option<String> {
    let one_line = sources.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == suite)?;
        (words[0] == "deb").then(|| words[at.checked_sub(1)?].to_owned().into())?
    });
    let paragraphs = || {
        sources.split("\n\n").find_map(|paragraph| {
            let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
            field("Suites:")?
                .split_whitespace()
                .find(|word| *word == suite)?;
            field("URIs:")?.split_whitespace().next().map(str::to_owned)
        })
    };
    one_line.or_else(paragraphs)
}

/// Writes what builds need into `directory`: `ca.crt`, `apt.conf`, `pip.conf`
/// and `env`, a shell script to be sourced.
///
/// # Panics
/// If the directory cannot be written.
pub fn write_settings(directory: &Path) {
    let write = |name: &str, text: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("write {path:?}: {error}"));
    };
    let certificates = env::var_os("SSL_CERT_FILE").unwrap_or_else(|| CERTIFICATES.into());
    let certificates = fs::read(certificates).unwrap_or_default();
    let has_certificates = !certificates.is_empty();
    write("ca.crt", &certificates);
    write("apt.conf", apt_settings(has_certificates).as_bytes());
    write("pip.conf", &pip_configuration());
    write("env", environment(env::vars(), has_certificates).as_bytes());
}

fn apt_settings(has_certificates: bool) -> String {
    let dump = Command::new("apt-config").arg("dump").output();
    let dump = dump.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let mut settings: String = dump
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with("Acquire::http"))
        .filter(|line| line.to_ascii_lowercase().contains("proxy"))
        .map(|line| format!("{line}\n"))
        .collect();
    settings.push_str("Acquire::Retries \"3\";\n");
    if has_certificates {
        settings.push_str("Acquire::https::CAInfo \"/host/ca.crt\";\n");
    }
    settings
}

fn pip_configuration() -> Vec<u8> {
    let home = env::var("HOME").unwrap_or_default();
    let named = env::var("PIP_CONFIG_FILE").ok();
    let places = [
        format!("{home}/.config/pip/pip.conf"),
        format!("{home}/.pip/pip.conf"),
    ];
    let files = named
        .into_iter()
        .chain(places)
        .chain(["/etc/pip.conf".to_owned()]);
    files
        .into_iter()
        .find_map(|file| fs::read(file).ok())
        .unwrap_or_default()
}

/// Proxies and pip's settings; of those that name files of this machine only
/// the certificates exist in the build, under another name.
fn environment(vars: impl Iterator<Item = (String, String)>, has_certificates: bool) -> String {
    let mut script = String::from("export DEBIAN_FRONTEND=noninteractive\n");
    script.push_str("export PIP_CONFIG_FILE=/host/pip.conf PIP_ROOT_USER_ACTION=ignore\n");
    for (name, value) in vars {
        let lower = name.to_ascii_lowercase();
        let proxy =
            ["http_proxy", "https_proxy", "no_proxy", "all_proxy"].contains(&lower.as_str());
        let pip = name.starts_with("PIP_") && name != "PIP_CONFIG_FILE" && !value.starts_with('/');
        if proxy || pip {
            script.push_str(&format!(
                "export {name}='{}'\n",
                value.replace('\'', "'\\''")
            ));
        }
    }
    if has_certificates {
        script.push_str("export PIP_CERT=/host/ca.crt SSL_CERT_FILE=/host/ca.crt\n");
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_is_the_suites_own_in_both_formats() {
        let one_line = "# deb http://old/debian bookworm main\n\
            deb [arch=amd64 signed-by=/k] http://other/apt extra main\n\
            deb [signed-by=/k] http://mirror/debian bookworm main\n";
        let paragraphs = "Types: deb\nURIs: http://other/apt\nSuites: extra\n\n\
            Types: deb\n# note\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n";
        for text in [one_line, paragraphs] {
            assert_eq!(
                mirror_of(text, "bookworm").as_deref(),
                Some("http://mirror/debian")
            );
            assert_eq!(mirror_of(text, "trixie"), None);
        }
    }

    #[test]
    fn environment_has_proxies_and_pip_but_no_files_of_this_machine() {
        let vars = [
            ("https_proxy", "http://p:1"),
            ("PIP_INDEX_URL", "http://index/it's"),
            ("PIP_FIND_LINKS", "/opt/wheels"),
            ("PIP_CERT", "/etc/own.crt"),
            ("SECRET", "x"),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let script = environment(vars.into_iter(), true);
        assert!(
            script.contains("export https_proxy='http://p:1'\n"),
            "{script}"
        );
        assert!(
            script.contains("export PIP_INDEX_URL='http://index/it'\\''s'\n"),
            "{script}"
        );
        assert!(script.contains("PIP_CERT=/host/ca.crt"), "{script}");
        for absent in ["SECRET", "/opt/wheels", "/etc/own.crt"] {
            assert!(!script.contains(absent), "{script}");
        }
    }
}
