//! Integration tests, one binary.

mod architecture;
mod counting;
mod wire;
