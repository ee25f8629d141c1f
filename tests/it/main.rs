//! The integration tests, in one binary.

mod architecture;
mod counting;
mod demo;
mod generate;
mod spec;
mod wire;
