//! Integration tests, one binary.

mod wire;
