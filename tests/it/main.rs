//! The integration tests, in one binary.

mod architecture;
mod cli;
mod counting;
mod generate;
mod notify;
mod spec;
mod web;
mod wire;
