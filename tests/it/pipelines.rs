//! The five pipelines of `examples/pipelines`: a good and a bad release of each, in simulated time at the rates that were
//! reported, and over HTTP as the pipeline itself speaks to a real daemon.

mod argo;
mod by_hand;
mod files;
mod flagger;
mod live;
mod models;
mod recorded;
mod scripts;
mod times;
mod traffic;

use std::fs;
use std::path::PathBuf;

/// A file of the examples.
fn example(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/pipelines").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn readme(folder: &str) -> String {
    example(&format!("{folder}/README.md"))
}
