//! The integration tests, in one binary.

mod architecture;
mod cli;
mod counting;
mod demo;
mod generate;
mod notify;
mod spec;
mod wire;
