//! Evidence that stays valid however often one looks.
//!
//! An *e-process* is a nonnegative process that starts at 1 and whose mean at every stopping time is at most 1 while
//! its null hypothesis holds. The chance that it ever reaches `1/alpha` is then at most alpha (Ville), so it may be
//! looked at on every scrape and acted on at once. Everything here is a logarithm, as the numbers leave the range of a
//! float.
//!
//! | module | null | used for |
//! |---|---|---|
//! | [`plane`] | the rate is within a limit that may depend on the baseline's | every rate check; tails of latency |
//! | [`split`] | the arms' rates are equal, whatever their level | "above stable" without a margin |
//! | [`onset`] | as what it mixes, harm beginning at any time | every sequential check |
//! | [`interval`] | a proportion is p | effects with their intervals |
//! | [`table`], [`shape`], [`quantile`] | equal rates, equal distributions, equal quantiles | reference and display |

pub mod interval;
pub mod onset;
pub mod plane;
pub mod quantile;
pub mod shape;
pub mod special;
pub mod split;
pub mod table;
