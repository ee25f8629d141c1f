//! The plain rule: the figure of a sliding window against the limit, as Argo, Flagger and hand-written operators have
//! it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::canary::Block;
use crate::types::{Span, Timestamp};

/// Blocks of one window; beyond that the two oldest become one.
pub const WINDOW_BLOCKS_MAX: usize = 512;

/// Counts of both arms over the last while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    length: Span,
    blocks: VecDeque<Block>,
    canary: Vec<f64>,
    baseline: Vec<f64>,
    begun: Option<Timestamp>,
}

/// How often in a row the rule found the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Streak {
    over: u32,
    within: u32,
    average: Option<f64>,
    looked: Option<Timestamp>,
}

impl Window {
    pub(super) fn new(kinds: usize, length: Span) -> Self {
        let none = vec![0.0; kinds];
        Self { length, blocks: VecDeque::new(), canary: none.clone(), baseline: none, begun: None }
    }

    pub(super) fn step(&mut self, block: &Block) {
        self.begun.get_or_insert(block.from);
        self.add(block, 1.0);
        self.blocks.push_back(Block { over_borders: Vec::new(), ..block.clone() });
        let since = block.to - self.length;
        while self.blocks.front().is_some_and(|oldest| oldest.from < since && oldest.to <= since) {
            if let Some(oldest) = self.blocks.pop_front() {
                self.add(&oldest, -1.0);
            }
        }
        if self.blocks.len() > WINDOW_BLOCKS_MAX
            && let Some(oldest) = self.blocks.pop_front()
            && let Some(next) = self.blocks.front_mut()
        {
            next.from = oldest.from;
            next.canary.iter_mut().zip(&oldest.canary).for_each(|(sum, count)| *sum += count);
            next.baseline.iter_mut().zip(&oldest.baseline).for_each(|(sum, count)| *sum += count);
        }
    }

    /// Whole numbers: adding and taking away leaves nothing behind.
    fn add(&mut self, block: &Block, sign: f64) {
        self.canary.iter_mut().zip(&block.canary).for_each(|(sum, count)| *sum += sign * count);
        self.baseline.iter_mut().zip(&block.baseline).for_each(|(sum, count)| *sum += sign * count);
    }

    pub(super) fn length(&self) -> Span {
        self.length
    }

    pub(super) fn canary(&self) -> &[f64] {
        &self.canary
    }

    pub(super) fn baseline(&self) -> &[f64] {
        &self.baseline
    }

    /// The window lies wholly after the first block's beginning.
    pub(super) fn is_whole(&self) -> bool {
        let newest = self.blocks.back().map(|b| b.to);
        newest.zip(self.begun).is_some_and(|(to, begun)| to.since(begun) >= self.length)
    }
}

impl Streak {
    /// Takes one look at the figure; `None` breaks every streak. Looks nearer than `every` to the one before are none.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        every: Span,
        figure: Option<f64>,
        limit: Option<f64>,
        ewma: Option<f64>,
    ) {
        if self.looked.is_some_and(|before| now.since(before) < every) {
            return;
        }
        self.looked = Some(now);
        let (Some(figure), Some(limit)) = (figure, limit) else {
            (self.over, self.within) = (0, 0);
            return;
        };
        let weight = ewma.unwrap_or(1.0).clamp(0.0, 1.0);
        let average = self.average.map_or(figure, |before| before + weight * (figure - before));
        self.average = Some(average);
        (self.over, self.within) = if average > limit { (self.over + 1, 0) } else { (0, self.within + 1) };
    }

    pub(super) fn is_over(&self, consecutive: u32) -> bool {
        self.over >= consecutive.max(1)
    }

    pub(super) fn is_within(&self, consecutive: u32) -> bool {
        self.within >= consecutive.max(1)
    }

    /// Looks that the longer streak still lacks.
    pub(super) fn missing(&self, consecutive: u32) -> u32 {
        consecutive.max(1).saturating_sub(self.over.max(self.within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(second: i64, bad: f64) -> Block {
        let at = |s: i64| Timestamp(s * 1000);
        Block::aligned(at(second), at(second + 15), vec![10.0 - bad, bad], vec![100.0, 1.0])
    }

    #[test]
    fn a_window_forgets() {
        let mut window = Window::new(2, Span::seconds(60));
        for i in 0..10 {
            window.step(&block(i * 15, f64::from(u8::from(i < 8))));
            assert_eq!(window.is_whole(), i >= 3);
        }
        assert_eq!((window.canary(), window.baseline()), (&[38.0, 2.0][..], &[400.0, 4.0][..]));
    }

    #[test]
    fn streaks_need_looks_in_a_row() {
        let mut streak = Streak::default();
        let mut look = |second: i64, figure: Option<f64>| {
            streak.look(Timestamp(second * 1000), Span::seconds(30), figure, Some(1.0), None);
            (streak.is_over(2), streak.is_within(2))
        };
        assert_eq!(look(0, Some(2.0)), (false, false));
        assert_eq!(look(15, Some(2.0)), (false, false), "too soon to be a look");
        assert_eq!(look(30, Some(2.0)), (true, false));
        assert_eq!(look(60, None), (false, false), "no data is no agreement");
        assert_eq!(look(90, Some(0.5)), (false, false));
        assert_eq!(look(120, Some(1.0)), (false, true), "at the limit is within it");
    }

    #[test]
    fn the_moving_average_damps_one_outlier() {
        let mut streak = Streak::default();
        for (i, figure) in [0.0, 0.0, 4.0, 0.0].into_iter().enumerate() {
            streak.look(Timestamp(i as i64), Span::millis(1), Some(figure), Some(1.5), Some(0.3));
            assert!(!streak.is_over(1), "{i}: {streak:?}");
        }
    }
}
