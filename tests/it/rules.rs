//! Prometheus' rules: what is read, and what comes of it, beside the real ones.

mod bench;
mod case;
mod daemon;
mod differential;
mod live;
mod slis;
mod sloth;

use bench::Bench;
