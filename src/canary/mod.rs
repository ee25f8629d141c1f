//! The canary judge.

pub mod evidence;
