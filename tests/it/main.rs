//! Tests against real servers and real peers, in one binary.

mod notify;
