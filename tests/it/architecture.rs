//! The house rules that the compiler does not check: the direction of `use`, and what pure modules may touch.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and the modules it may use besides itself. The pure ones come first, in the order of the data.
const MAY_USE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("promql", &["types"]),
    ("template", &["types"]),
    ("spec", &["types", "promql", "template"]),
    ("generate", &["types", "spec"]),
    ("wire", &["types"]),
    ("series", &["types", "wire"]),
    ("store", &["types", "promql", "wire", "series"]),
    ("sli", &["types", "wire", "series", "spec"]),
    ("burn", &["types", "wire", "series", "sli", "spec"]),
    ("alert", &["types", "wire", "series", "sli", "burn", "spec"]),
    ("canary", &["types", "wire", "series", "sli", "burn", "spec"]),
    ("rollout", &["types", "spec", "canary"]),
    ("engine", &["types", "wire", "series", "sli", "burn", "alert", "canary", "rollout", "spec", "generate"]),
    ("replay", &["types", "wire", "series", "sli", "burn", "alert", "canary", "rollout", "spec", "engine"]),
    ("ruler", &["types", "promql", "template", "spec", "store", "alert"]),
    ("figures", &["types", "promql", "wire", "store", "burn", "alert", "spec", "engine"]),
    // The shells.
    ("clock", &["types"]),
    ("journal", &["types", "wire", "clock"]),
    ("config", &["types", "spec", "journal"]),
    ("live", &["types", "spec", "wire", "alert", "rollout", "engine", "journal", "clock"]),
    ("audit", &["types", "canary", "rollout"]),
    ("notify", &["types", "template", "spec", "alert", "canary", "rollout", "audit", "clock"]),
    ("testing", &["types", "wire", "series", "spec", "alert", "engine", "notify"]),
    ("evaluation", &["types", "spec", "alert", "ruler", "notify", "clock"]),
    ("ingest", &["types", "wire", "store", "engine", "live", "clock"]),
    (
        "api",
        &[
            "types",
            "promql",
            "template",
            "store",
            "ruler",
            "evaluation",
            "sli",
            "spec",
            "burn",
            "alert",
            "canary",
            "rollout",
            "engine",
            "figures",
            "audit",
            "notify",
            "ingest",
            "journal",
            "live",
            "clock",
        ],
    ),
    (
        "app",
        &[
            "types",
            "promql",
            "spec",
            "wire",
            "store",
            "alert",
            "rollout",
            "engine",
            "ruler",
            "evaluation",
            "figures",
            "journal",
            "live",
            "audit",
            "notify",
            "ingest",
            "api",
            "config",
            "clock",
        ],
    ),
    ("demo", &["types", "spec", "wire", "series", "engine", "live", "notify", "api", "app", "config", "clock"]),
    (
        "cli",
        &[
            "types", "promql", "spec", "wire", "store", "generate", "canary", "rollout", "engine", "replay", "api",
            "journal", "testing", "audit", "notify", "app", "config", "demo", "clock",
        ],
    ),
];

const PURE: &[&str] = &[
    "types", "promql", "template", "spec", "generate", "wire", "series", "store", "sli", "burn", "alert", "canary",
    "rollout", "engine", "figures", "replay", "ruler",
];

/// What a pure module may not name.
const SHELL_WORDS: &[&str] = &[
    "tokio",
    "axum",
    "reqwest",
    "hyper",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "Instant",
    "SystemTime",
    "crate::clock",
];

fn sources() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
                let module = Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned();
                files.push((module, path));
            }
        }
    }
    files.sort();
    files
}

/// A file's code without its unit tests and comments.
fn production(path: &Path) -> String {
    if path.ends_with("tests.rs") {
        return String::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Modules named as `crate::module`, nested `use crate::{a, b}` lists included.
fn used(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap().split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            found.push(name[..end].to_owned());
        }
    }
    found
}

#[test]
fn modules_use_only_what_lies_before_them() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, path) in sources().into_iter().filter(|(m, _)| m != "lib" && m != "main") {
        let Some(may_use) = allowed.get(module.as_str()) else {
            wrong.push(format!("{}: module {module} has no place in the order", path.display()));
            continue;
        };
        for name in used(&production(&path)) {
            if allowed.contains_key(name.as_str()) && name != module && !may_use.contains(&name.as_str()) {
                wrong.push(format!("{}: {module} uses {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pure_modules_have_no_clock_and_no_io() {
    let mut wrong = Vec::new();
    for (module, path) in sources().into_iter().filter(|(m, _)| PURE.contains(&m.as_str())) {
        let code = production(&path);
        wrong.extend(
            SHELL_WORDS
                .iter()
                .filter(|w| code.contains(**w))
                .map(|w| format!("{}: {module} names {w}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_checks_can_fail() {
    assert_eq!(used("use crate::{sli, engine::Engine};\nlet x = crate::types::Span(1);"), ["sli", "engine", "types"]);
    assert!(PURE.iter().all(|module| MAY_USE.iter().any(|(name, _)| name == module)));
}
