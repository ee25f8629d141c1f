//! The integration tests, in one binary.

mod architecture;
mod canary;
mod cli;
mod counting;
mod daemon;
mod delivery;
mod demo;
mod generate;
mod http;
mod lifecycle;
mod notify;
mod peers;
mod process;
mod receiver;
mod replay;
mod scenarios;
mod spec;
mod traffic;
mod web;
mod wire;
