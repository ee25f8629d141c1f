//! The command line: the edge, where files are read.

pub mod sources;
