//! The integration tests, in one binary.

mod architecture;
mod counting;
mod generate;
mod spec;
mod web;
mod wire;
