//! From a hash to a series, and from a sample to what it adds: a fleet of targets with 110 series each, in the order in
//! which the queues of a Prometheus send them. A round is one request of each queue, and the next round the next ones, so
//! that no series is seen again before all others were.

use std::hint::black_box;
use std::ops::Range;

use sloburn::series::{Index, Inline, Lookup, Output, SeriesId, Table, Tag};
use sloburn::types::{BorrowedLabels, Labels, Span, Timestamp};
use sloburn::wire::{Changes, Limits};

use crate::Stage;
use crate::support::{INTERVAL, METRIC, REQUEST_SERIES, START, wire_key};

const TARGET_SERIES: usize = 110;
/// Queues that share the series of one target.
const QUEUES: usize = 4;
/// Scrapes before the measurement: every series has all the samples it keeps.
const WARM_UP_SCRAPES: usize = 6;
/// Series of one round.
const ROUND_SERIES: usize = QUEUES * REQUEST_SERIES;
/// Of so many series one moves in a scrape.
const STILL: usize = 10;

/// A table with series, in the order of their arrival.
struct Fleet {
    table: Table,
    hashes: Vec<u128>,
    ids: Vec<SeriesId>,
    /// The number of each series: that of its target first.
    numbers: Vec<usize>,
    /// What the round takes.
    round: Range<usize>,
}

impl Fleet {
    fn new(series: usize) -> Self {
        let key = wire_key();
        let hash = |form: u8, number: usize| key.hash(&[&[form; 24][..], &number.to_le_bytes()].concat());
        let mut table = Table::new(series, &Limits::default());
        let mut ids = Vec::with_capacity(series);
        for number in 0..series {
            let (target, code) = (number / TARGET_SERIES, number % TARGET_SERIES);
            let labels = Labels::new().with("__name__", METRIC).with("code", &code.to_string());
            let labels = labels.with("instance", &format!("10.0.0.1:{target}")).with("job", "shop");
            let tag = Tag(1 + (target / 2) as u32);
            let labels = (&BorrowedLabels::from(&labels), Changes::ALL);
            ids.push(table.register(hash(0, number), hash(1, number), labels, tag, false).expect("room for it"));
        }
        let queue = |first: usize, queue: usize| (first + queue..series.min(first + ROUND_SERIES)).step_by(QUEUES);
        let firsts = (0..series).step_by(ROUND_SERIES);
        let numbers: Vec<usize> = firsts.flat_map(|first| (0..QUEUES).flat_map(move |at| queue(first, at))).collect();
        let hashes = numbers.iter().map(|number| hash(0, *number)).collect();
        Self { table, hashes, ids: numbers.iter().map(|number| ids[*number]).collect(), numbers, round: 0..0 }
    }

    /// Goes on to the next round; whether it is the first of a scrape.
    fn next(&mut self) -> bool {
        let start = if self.round.end == self.numbers.len() { 0 } else { self.round.end };
        self.round = start..self.numbers.len().min(start + ROUND_SERIES);
        start == 0
    }

    /// When a target is scraped, spread over the interval.
    fn scraped_at(&self, number: usize, scrape: usize) -> Timestamp {
        let target = number / TARGET_SERIES * TARGET_SERIES;
        let offset = INTERVAL.as_millis() * target as i64 / self.numbers.len() as i64;
        START + Span(INTERVAL.as_millis() * scrape as i64 + offset)
    }
}

/// The look-up of known series.
pub struct Lookups {
    fleet: Fleet,
    plain: Index,
}

impl Lookups {
    pub fn new(series: usize) -> Self {
        let fleet = Fleet::new(series);
        let mut plain = Index::default();
        (0..).zip(&fleet.hashes).for_each(|(slot, hash)| plain.insert(*hash, slot));
        Self { fleet, plain }
    }
}

impl Stage for Lookups {
    fn elements(&self) -> usize {
        self.fleet.round.len()
    }

    fn prepare(&mut self) {
        self.fleet.next();
    }

    fn run(&mut self) {
        let Fleet { table, hashes, round, .. } = &mut self.fleet;
        let hashes = &hashes[round.clone()];
        let known = hashes.iter().filter(|hash| matches!(black_box(table.lookup(**hash)), Lookup::Known(_))).count();
        assert_eq!(known, hashes.len());
    }

    fn floor(&mut self) {
        let hashes = &self.fleet.hashes[self.fleet.round.clone()];
        let found = hashes.iter().filter(|hash| black_box(self.plain.get(**hash)).is_some()).count();
        assert_eq!(found, hashes.len());
    }
}

/// Samples of series that were looked up, until their increases are passed on.
pub struct Apply {
    fleet: Fleet,
    scrape: usize,
    due: Vec<(SeriesId, Timestamp, f64)>,
    values: Vec<f64>,
    output: Output,
    sums: Vec<f64>,
    slots: Vec<u32>,
}

impl Apply {
    pub fn new(series: usize) -> Self {
        let fleet = Fleet::new(series);
        // A prime: the slots are a permutation.
        let slots = (0..series).map(|i| (i * 104_729 % series) as u32).collect();
        let (values, sums) = (vec![1_000.0; series], vec![0.0; series]);
        let mut apply = Self { fleet, scrape: 0, due: Vec::new(), values, output: Output::default(), sums, slots };
        while apply.scrape <= WARM_UP_SCRAPES {
            apply.prepare();
            apply.run();
        }
        apply
    }
}

impl Stage for Apply {
    fn elements(&self) -> usize {
        self.fleet.round.len()
    }

    fn prepare(&mut self) {
        if !self.fleet.next() {
            return;
        }
        self.scrape += 1;
        self.due.clear();
        for (place, &number) in self.fleet.numbers.iter().enumerate() {
            self.values[place] += if (number + self.scrape).is_multiple_of(STILL) { 10.0 } else { 0.0 };
            let at = self.fleet.scraped_at(number, self.scrape);
            self.due.push((self.fleet.ids[place], at, self.values[place]));
        }
    }

    fn run(&mut self) {
        for request in self.due[self.fleet.round.clone()].chunks(REQUEST_SERIES) {
            let table = &mut self.fleet.table;
            for (source, &(id, at, value)) in (0..).zip(request) {
                table.queue_sample(id, source, at, value, None);
            }
            let now = request[request.len() - 1].1 + Span::millis(200);
            table.run(&mut Inline, now, &mut self.output);
            table.settle(now, &mut self.output);
            assert!(table.refused().is_empty());
            black_box(&self.output);
            self.output.increments.clear();
            self.output.liveness.clear();
        }
    }

    fn floor(&mut self) {
        let round = self.fleet.round.clone();
        for ((_, _, value), slot) in self.due[round.clone()].iter().zip(&self.slots[round]) {
            self.sums[*slot as usize] += value;
        }
        black_box(&self.sums);
    }
}
