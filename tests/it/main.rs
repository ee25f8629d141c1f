//! The integration tests, in one binary.

mod architecture;
mod counting;
mod generate;
mod notify;
mod spec;
mod wire;
