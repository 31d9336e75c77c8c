//! Which package may depend on which.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Violation;

/// Packages of the workspace, and those of them that each may import.
const EDGES: [(&str, &[&str]); 15] = [
    (
        "modeltap",
        &[
            "modeltap-abi",
            "modeltap-api",
            "modeltap-api-types",
            "modeltap-capture",
            "modeltap-core",
            "modeltap-discovery",
            "modeltap-export",
            "modeltap-metrics",
            "modeltap-protocol",
            "modeltap-store",
            "modeltap-testbed",
        ],
    ),
    ("modeltap-abi", &[]),
    (
        "modeltap-api",
        &[
            "modeltap-api-types",
            "modeltap-core",
            "modeltap-metrics",
            "modeltap-store",
        ],
    ),
    ("modeltap-api-types", &[]),
    ("modeltap-capture", &["modeltap-abi", "modeltap-core"]),
    ("modeltap-core", &[]),
    ("modeltap-demo", &[]),
    ("modeltap-discovery", &["modeltap-core"]),
    ("modeltap-export", &["modeltap-core"]),
    ("modeltap-metrics", &["modeltap-core"]),
    ("modeltap-probes", &["modeltap-abi"]),
    ("modeltap-protocol", &["modeltap-core"]),
    ("modeltap-store", &["modeltap-core"]),
    // What the live tests share: servers, clients, the daemon under test.
    ("modeltap-testbed", &["modeltap-api-types"]),
    ("modeltap-web", &["modeltap-api-types"]),
];

/// Heavy dependencies and their owners; a name ending in `*` is a beginning.
const OWNERS: [(&str, &[&str]); 22] = [
    ("anyhow", &["modeltap", "xtask"]),
    ("axum*", &["modeltap-api", "modeltap-demo"]),
    ("aya", &["modeltap-capture"]),
    ("aya-ebpf*", &["modeltap-probes"]),
    ("aya-log", &["modeltap-capture"]),
    ("aya-log-ebpf", &["modeltap-probes"]),
    ("aya-obj", &["modeltap-capture"]),
    ("bollard*", &["modeltap-discovery"]),
    ("clap*", &["modeltap", "xtask"]),
    ("duckdb", &["modeltap-store"]),
    ("figment", &["modeltap"]),
    ("landlock", &["modeltap"]),
    ("leptos*", &["modeltap-web"]),
    ("lettre", &["modeltap-export"]),
    ("nvml-wrapper", &["modeltap-discovery"]),
    ("opentelemetry*", &["modeltap-export"]),
    ("reqwest", &["modeltap-export"]),
    ("rust-embed", &["modeltap-api"]),
    ("seccompiler", &["modeltap"]),
    ("utoipa*", &["modeltap-api", "modeltap-api-types"]),
    ("wasm-bindgen-cli-support", &["xtask"]),
    ("web-sys", &["modeltap-web"]),
];

/// Packages whose code is a function of its arguments.
const PURE: [&str; 5] = [
    "modeltap-abi",
    "modeltap-api-types",
    "modeltap-core",
    "modeltap-metrics",
    "modeltap-protocol",
];
const IMPURE: [&str; 6] = ["futures-util", "libc", "nix", "rustix", "tokio", "tracing"];
/// Packages whose types never leave the process as they are.
const WITHOUT_SERDE: [&str; 5] = [
    "modeltap-abi",
    "modeltap-capture",
    "modeltap-core",
    "modeltap-metrics",
    "modeltap-probes",
];

/// A package of the workspace.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder, relative to the workspace.
    pub folder: String,
    /// The root files of its library and binaries.
    pub roots: Vec<String>,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
}

/// A line of a package's manifest.
#[derive(Debug)]
pub struct Dependency {
    /// The name of the package depended on.
    pub name: String,
    /// When it is needed.
    pub kind: Kind,
}

/// When a dependency is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In the product.
    Normal,
    /// In build scripts.
    Build,
    /// In tests.
    Dev,
}

/// Reads what `cargo metadata` says of the workspace at `root`.
///
/// # Errors
/// When it does not have the documented form.
pub fn packages(metadata: &Value, root: &Path) -> Result<Vec<Package>> {
    let relative = |path: &Value| -> Result<String> {
        let path = Path::new(path.as_str().context("cargo names a path")?);
        Ok(path
            .strip_prefix(root)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned())
    };
    let mut packages = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .context("cargo lists packages")?
    {
        let manifest = relative(&package["manifest_path"])?;
        let mut roots = Vec::new();
        for target in package["targets"].as_array().into_iter().flatten() {
            let kinds = target["kind"].as_array();
            if kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib" || kind == "bin")) {
                roots.push(relative(&target["src_path"])?);
            }
        }
        let mut dependencies = Vec::new();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            dependencies.push(Dependency {
                name: text(&dependency["name"])?,
                kind: match dependency["kind"].as_str() {
                    Some("dev") => Kind::Dev,
                    Some("build") => Kind::Build,
                    _ => Kind::Normal,
                },
            });
        }
        packages.push(Package {
            name: text(&package["name"])?,
            folder: manifest
                .trim_end_matches("Cargo.toml")
                .trim_end_matches('/')
                .to_owned(),
            roots,
            dependencies,
        });
    }
    Ok(packages)
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("cargo gives a name")?.to_owned())
}

/// Checks the dependencies of all packages; `read` gives a manifest's text.
pub fn check(packages: &[Package], read: impl Fn(&str) -> String) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in packages {
        let manifest = format!("{}/Cargo.toml", package.folder);
        if package.name != "xtask" && allowed_edges(&package.name).is_none() {
            let rule = format!("package {} is not part of the architecture", package.name);
            violations.push(Violation::new(&manifest, 1, rule));
        }
        for dependency in &package.dependencies {
            if let Some(rule) = broken_rule(package, dependency, packages) {
                let line = line_of(&read(&manifest), &dependency.name);
                violations.push(Violation::new(&manifest, line, rule));
            }
        }
    }
    violations
}

fn broken_rule(package: &Package, dependency: &Dependency, packages: &[Package]) -> Option<String> {
    let (name, imported) = (package.name.as_str(), dependency.name.as_str());
    if packages.iter().any(|member| member.name == imported) {
        let allowed = allowed_edges(name).unwrap_or_default();
        return (!allowed.contains(&imported)).then(|| {
            let list = if allowed.is_empty() {
                "nothing of ours".to_owned()
            } else {
                allowed.join(", ")
            };
            format!("{name} must not import {imported}: it may import {list}")
        });
    }
    if dependency.kind == Kind::Dev {
        return None;
    }
    if PURE.contains(&name) && IMPURE.contains(&imported) {
        return Some(format!("{name} is pure and must not depend on {imported}"));
    }
    if WITHOUT_SERDE.contains(&name) && imported.starts_with("serde") {
        return Some(format!(
            "{name} holds domain types and must not depend on {imported}"
        ));
    }
    // Build scripts may report errors as the edge does.
    if dependency.kind == Kind::Build && imported == "anyhow" {
        return None;
    }
    let (_, owners) = OWNERS
        .iter()
        .find(|(heavy, _)| match heavy.strip_suffix('*') {
            Some(beginning) => imported.starts_with(beginning),
            None => imported == *heavy,
        })?;
    (!owners.contains(&name))
        .then(|| format!("{imported} belongs to {}, not to {name}", owners.join(", ")))
}

fn allowed_edges(name: &str) -> Option<&'static [&'static str]> {
    EDGES
        .iter()
        .find(|(package, _)| *package == name)
        .map(|(_, allowed)| *allowed)
}

fn line_of(manifest: &str, dependency: &str) -> usize {
    let found = manifest.lines().position(|line| {
        let line = line.trim_start().trim_start_matches('[');
        let line = line
            .rsplit_once("dependencies.")
            .map_or(line, |(_, name)| name);
        line.strip_prefix(dependency)
            .is_some_and(|rest| rest.starts_with(['.', ' ', '=', ']']))
    });
    found.map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        Package {
            name: name.to_owned(),
            folder: format!("userspace/crates/{}", name.trim_start_matches("modeltap-")),
            roots: Vec::new(),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency {
                    name: (*name).to_owned(),
                    kind: *kind,
                })
                .collect(),
        }
    }

    #[track_caller]
    fn check_one(name: &str, dependency: &str, kind: Kind, expected: Option<&str>) {
        let mut packages: Vec<_> = EDGES.iter().map(|(name, _)| package(name, &[])).collect();
        packages.retain(|known| known.name != name);
        packages.push(package(name, &[(dependency, kind)]));
        let found = check(&packages, |_| {
            format!("[dependencies]\nother = \"1\"\n{dependency}.workspace = true\n")
        });
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        match expected {
            None => assert_eq!(found, Vec::<String>::new()),
            Some(expected) => assert_eq!(found, [expected]),
        }
    }

    #[test]
    fn siblings_do_not_import_each_other() {
        check_one("modeltap-api", "modeltap-store", Kind::Normal, None);
        check_one(
            "modeltap-store",
            "modeltap-metrics",
            Kind::Normal,
            Some(
                "userspace/crates/store/Cargo.toml:3: modeltap-store must not import modeltap-metrics: it may import modeltap-core",
            ),
        );
        check_one(
            "modeltap-core",
            "modeltap-abi",
            Kind::Dev,
            Some(
                "userspace/crates/core/Cargo.toml:3: modeltap-core must not import modeltap-abi: it may import nothing of ours",
            ),
        );
    }

    #[test]
    fn heavy_dependency_has_one_owner() {
        check_one("modeltap-store", "duckdb", Kind::Normal, None);
        check_one("modeltap-store", "anyhow", Kind::Build, None);
        check_one("modeltap-discovery", "axum", Kind::Dev, None);
        check_one(
            "modeltap-api",
            "duckdb",
            Kind::Normal,
            Some(
                "userspace/crates/api/Cargo.toml:3: duckdb belongs to modeltap-store, not to modeltap-api",
            ),
        );
        check_one(
            "modeltap-api",
            "opentelemetry-otlp",
            Kind::Normal,
            Some(
                "userspace/crates/api/Cargo.toml:3: opentelemetry-otlp belongs to modeltap-export, not to modeltap-api",
            ),
        );
    }

    #[test]
    fn pure_package_depends_on_nothing_impure() {
        check_one("modeltap-protocol", "httparse", Kind::Normal, None);
        check_one("modeltap-protocol", "tokio", Kind::Dev, None);
        check_one(
            "modeltap-protocol",
            "tokio",
            Kind::Normal,
            Some(
                "userspace/crates/protocol/Cargo.toml:3: modeltap-protocol is pure and must not depend on tokio",
            ),
        );
        check_one(
            "modeltap-core",
            "serde",
            Kind::Normal,
            Some(
                "userspace/crates/core/Cargo.toml:3: modeltap-core holds domain types and must not depend on serde",
            ),
        );
    }

    #[test]
    fn unknown_package_is_named() {
        let found = check(&[package("modeltap-utils", &[])], |_| String::new());
        assert_eq!(
            found[0].to_string(),
            "userspace/crates/utils/Cargo.toml:1: package modeltap-utils is not part of the architecture"
        );
    }
}
