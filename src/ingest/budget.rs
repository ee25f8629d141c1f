//! A bound on the memory that all requests at hand may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What requests may take together by default.
pub const IN_FLIGHT_LIMIT_BYTES: usize = 512 << 20;

/// The bound; clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    used_bytes: Arc<AtomicUsize>,
    limit_bytes: usize,
}

/// Part of a budget, given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

/// The budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("requests at hand take over {limit_bytes} bytes; try again later")]
pub struct BudgetError {
    limit_bytes: usize,
}

impl Budget {
    /// A budget of this many bytes.
    pub fn new(limit_bytes: usize) -> Self {
        Self { used_bytes: Arc::default(), limit_bytes }
    }

    /// Sets bytes aside.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, BudgetError> {
        let mut reservation = Reservation { budget: self.clone(), bytes: 0 };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Bytes set aside now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(IN_FLIGHT_LIMIT_BYTES)
    }
}

impl Reservation {
    /// Sets more bytes aside.
    ///
    /// # Errors
    /// When fewer are left; what is already set aside stays so.
    pub fn grow(&mut self, bytes: usize) -> Result<(), BudgetError> {
        let limit_bytes = self.budget.limit_bytes;
        let within = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit_bytes);
        let grown = self.budget.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        grown.map_err(|_| BudgetError { limit_bytes })?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_comes_back() {
        let budget = Budget::new(10);
        let mut first = budget.reserve(6).unwrap();
        assert!(budget.reserve(5).is_err());
        assert!(first.grow(5).is_err());
        first.grow(4).unwrap();
        assert_eq!(budget.used_bytes(), 10);
        drop(first);
        assert_eq!(budget.used_bytes(), 0);
    }
}
