//! The integration tests, in one binary.

mod architecture;
mod canary;
mod cli;
mod counting;
mod daemon;
mod delivery;
mod demo;
mod generate;
mod histograms;
mod http;
mod http_v2;
mod lifecycle;
mod notify;
mod peers;
mod process;
mod receiver;
mod reload;
mod replay;
mod scenarios;
mod sender;
mod simulation;
mod spec;
mod testing;
mod traffic;
mod web;
mod wire;
