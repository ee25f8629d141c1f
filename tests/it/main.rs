//! Integration tests, in one binary.

mod spec;
