//! Specs as the journal keeps them: the text they were made from. Counts mean something only under the specs that
//! held when they were made, so a recovery needs those before the ones of today.

use serde::{Deserialize, Serialize};

use crate::spec::{self, Service, Source};

/// Specs with their source.
#[derive(Clone, Debug)]
pub struct Specs {
    /// What the sources say.
    pub services: Vec<Service>,
    /// As read.
    pub sources: Vec<Source>,
}

/// One file.
#[derive(Serialize, Deserialize)]
struct File<'a> {
    path: &'a str,
    text: &'a str,
}

impl Specs {
    /// Path and text of every source.
    pub(super) fn encode(&self) -> Vec<u8> {
        let paths: Vec<_> = self.sources.iter().map(|source| source.path.to_string_lossy()).collect();
        let files: Vec<File<'_>> =
            paths.iter().zip(&self.sources).map(|(path, source)| File { path, text: &source.text }).collect();
        postcard::to_extend(&files, Vec::new()).expect("a vector takes everything")
    }

    /// Reads them again; what is wrong with them where they mean nothing to this version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let files: Vec<File<'_>> = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
        let sources: Vec<Source> = files.iter().map(|file| Source::new(file.path, file.text)).collect();
        let (services, report) = spec::parse(&sources);
        if report.has_errors() { Err(report.render(false)) } else { Ok(Self { services, sources }) }
    }
}
