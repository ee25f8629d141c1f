//! From a hash to a series, and from a sample to what it adds: a fleet of targets with 110 series each, every one
//! scraped once a round, in the order in which the queues of a Prometheus send them.

use std::hint::black_box;

use sloburn::series::{Index, Inline, Lookup, Output, SeriesId, Table, Tag};
use sloburn::types::{Labels, Span, Timestamp};
use sloburn::wire::Limits;

use crate::Stage;
use crate::support::{INTERVAL, METRIC, REQUEST_SERIES, START, wire_key};

const TARGET_SERIES: usize = 110;
/// Queues that share the series of one target.
const QUEUES: usize = 4;
/// Scrapes before the measurement: every series has all the samples it keeps.
const WARM_UP_SCRAPES: usize = 6;
/// Of so many series one moves in a scrape.
const STILL: usize = 10;

/// A table with series, in the order of their arrival.
struct Fleet {
    table: Table,
    hashes: Vec<u128>,
    ids: Vec<SeriesId>,
    /// The number of each series: that of its target first.
    numbers: Vec<usize>,
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
            ids.push(table.register(hash(0, number), hash(1, number), &labels, tag, false).expect("room for it"));
        }
        let span = QUEUES * REQUEST_SERIES;
        let queue = |first: usize, queue: usize| (first + queue..series.min(first + span)).step_by(QUEUES);
        let firsts = (0..series).step_by(span);
        let numbers: Vec<usize> = firsts.flat_map(|first| (0..QUEUES).flat_map(move |at| queue(first, at))).collect();
        let hashes = numbers.iter().map(|number| hash(0, *number)).collect();
        Self { table, hashes, ids: numbers.iter().map(|number| ids[*number]).collect(), numbers }
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
        self.fleet.hashes.len()
    }

    fn run(&mut self) {
        let Fleet { table, hashes, .. } = &mut self.fleet;
        let known = hashes.iter().filter(|hash| matches!(black_box(table.lookup(**hash)), Lookup::Known(_))).count();
        assert_eq!(known, hashes.len());
    }

    fn floor(&mut self) {
        let found = self.fleet.hashes.iter().filter(|hash| black_box(self.plain.get(**hash)).is_some()).count();
        assert_eq!(found, self.fleet.hashes.len());
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
        for _ in 0..WARM_UP_SCRAPES {
            apply.prepare();
            apply.run();
        }
        apply
    }
}

impl Stage for Apply {
    fn elements(&self) -> usize {
        self.values.len()
    }

    fn prepare(&mut self) {
        self.scrape += 1;
        self.due.clear();
        for (place, &number) in self.fleet.numbers.iter().enumerate() {
            self.values[place] += if (number + self.scrape).is_multiple_of(STILL) { 10.0 } else { 0.0 };
            let at = self.fleet.scraped_at(number, self.scrape);
            self.due.push((self.fleet.ids[place], at, self.values[place]));
        }
    }

    fn run(&mut self) {
        let mut passed_on = 0;
        for request in self.due.chunks(REQUEST_SERIES) {
            let table = &mut self.fleet.table;
            for (source, &(id, at, value)) in (0..).zip(request) {
                table.queue_sample(id, source, at, value, None);
            }
            let now = request[request.len() - 1].1 + Span::millis(200);
            table.run(&mut Inline, now, &mut self.output);
            table.settle(now, &mut self.output);
            assert!(table.refused().is_empty());
            passed_on += self.output.increments.len();
            self.output.increments.clear();
            self.output.liveness.clear();
        }
        // Some of the last targets wait for their next scrape.
        assert!(passed_on > self.due.len() / 2);
    }

    fn floor(&mut self) {
        for ((_, _, value), slot) in self.due.iter().zip(&self.slots) {
            self.sums[*slot as usize] += value;
        }
        black_box(&self.sums);
    }
}
