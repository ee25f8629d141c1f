//! The integration tests, in one binary.

mod architecture;
mod cli;
mod counting;
mod generate;
mod notify;
mod replay;
mod spec;
mod wire;
