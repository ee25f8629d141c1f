//! The latest floats of a series before they are compressed.
//!
//! Compressing a float touches several places in memory that belong to its series alone. So some are gathered first, in a
//! list of all series in order of their places, which is the order in which requests name them.

/// Floats that wait at most. With the rest it is two cache lines.
const ROOM_COUNT: usize = 7;

/// Of one series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    /// The newest time of the series, whether or not it waits here.
    newest: i64,
    count: u32,
    floats: [(i64, f64); ROOM_COUNT],
}

impl Default for Recent {
    fn default() -> Self {
        Self { newest: i64::MIN, count: 0, floats: [(0, 0.0); ROOM_COUNT] }
    }
}

impl Recent {
    /// Takes a float that is later than everything of its series, if there is room; whether it did.
    #[inline]
    pub fn push(&mut self, at: i64, value: f64) -> bool {
        let is_taken = at > self.newest && (self.count as usize) < ROOM_COUNT;
        if is_taken {
            self.floats[self.count as usize] = (at, value);
            (self.newest, self.count) = (at, self.count + 1);
        }
        is_taken
    }

    /// Something of this time went to the series another way.
    pub fn passed(&mut self, at: i64) {
        self.newest = self.newest.max(at);
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub const fn newest(&self) -> i64 {
        self.newest
    }

    /// What waits, in order; nothing does afterwards.
    pub fn take(&mut self) -> impl Iterator<Item = (i64, f64)> {
        let count = std::mem::take(&mut self.count) as usize;
        self.floats.into_iter().take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_two_cache_lines() {
        assert_eq!(size_of::<Recent>(), 128);
    }

    #[test]
    fn only_what_is_later_waits() {
        let mut recent = Recent::default();
        assert!(recent.push(5, 1.0) && !recent.push(5, 2.0) && !recent.push(4, 2.0) && recent.push(6, 3.0));
        recent.passed(9);
        assert!(!recent.push(8, 4.0) && recent.push(10, 5.0));
        assert_eq!(recent.take().collect::<Vec<_>>(), [(5, 1.0), (6, 3.0), (10, 5.0)]);
        assert!(recent.is_empty() && !recent.push(10, 6.0));
        assert_eq!((11..30).take_while(|at| recent.push(*at, 0.0)).count(), ROOM_COUNT);
    }
}
