//! sloburn: an SLO burn-rate engine fed by Prometheus remote write.
//!
//! Data flows one way, from [`wire`] to the effects of [`engine`]; the modules up to the engine are pure
//! (no clock, no IO, no threads) and the shells around them live at the edge. `ARCHITECTURE.md` is the map.

pub mod alert;
pub mod api;
pub mod app;
pub mod audit;
pub mod burn;
pub mod canary;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod engine;
pub mod evaluation;
pub mod figures;
pub mod generate;
pub mod ingest;
pub mod journal;
pub mod live;
pub mod notify;
pub mod promql;
pub mod replay;
pub mod rollout;
pub mod ruler;
pub mod series;
pub mod sli;
pub mod spec;
pub mod store;
pub mod template;
pub mod testing;
pub mod types;
pub mod wire;
