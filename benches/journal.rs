//! Appending to the journal beside its floor, the plain write of the same bytes to one file.
//!
//! Each append is one request of 2,000 series as Prometheus sends it. `append` hands it to the system, as is done before
//! an answer; `durable` waits for the fsync too, one request at a time, so without sharing any. Folders are temporary:
//! set `TMPDIR` to measure another disk.

#[path = "support/mod.rs"]
mod support;

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput};
use sloburn::journal::{Entry, Folder, Fsync, Journal, Kind, Options, Position, Writer, body_sum};
use sloburn::types::Timestamp;
use sloburn::wire::Protocol;
use support::{Fleet, Request, START, Size};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FLEET: Size = Size { services: 40, instances: 2, children: 100 };
/// Appends to one folder before it is removed.
const FOLDER_REQUESTS: u64 = 2_000;

fn writer(folder: &tempfile::TempDir, fsync: Fsync) -> Writer {
    let options = Options { fsync, free_floor_bytes: 0, ..Options::default() };
    let journal = Journal::new(Arc::new(Folder::new(folder.path())), options);
    let reading = journal.read(Position::default(), Timestamp::MIN, &mut |_, _| std::ops::ControlFlow::Continue(()));
    journal.writer(&reading.expect("an empty log"), |_| {}).expect("a folder to write to")
}

/// Time for `count` appends, in folders of a bounded size.
fn timed<T>(count: u64, open: impl Fn(&tempfile::TempDir) -> T, mut append: impl FnMut(&mut T, u64)) -> Duration {
    let mut sum = Duration::ZERO;
    for first in (0..count).step_by(FOLDER_REQUESTS as usize) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut target = open(&folder);
        let clock = WallTime.start();
        for i in first..count.min(first + FOLDER_REQUESTS) {
            append(&mut target, i);
        }
        sum += WallTime.end(clock);
    }
    sum
}

fn append(writer: &mut Writer, request: &Request) {
    let body = &request.body;
    let entry = Entry { kind: Kind::Write(Protocol::V1), body, body_sum: body_sum(body) };
    writer.append(entry, START).expect("room on the disk");
}

fn main() {
    let requests = Fleet::new(FLEET).scrape(0, START);
    let request = |i: u64| &requests[i as usize % requests.len()];
    let bytes: usize = requests.iter().map(|request| request.body.len()).sum();
    let criterion = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(300));
    let mut criterion = criterion.measurement_time(Duration::from_millis(800)).configure_from_args();
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Bytes((bytes / requests.len()) as u64));
    group.bench_function("floor", |bencher| {
        let open = |folder: &tempfile::TempDir| File::create(folder.path().join("plain")).expect("a file");
        bencher.iter_custom(|n| timed(n, open, |file, i| file.write_all(&request(i).body).expect("room on the disk")));
    });
    group.bench_function("append", |bencher| {
        bencher.iter_custom(|n| timed(n, |folder| writer(folder, Fsync::Off), |writer, i| append(writer, request(i))));
    });
    group.bench_function("durable", |bencher| {
        let wait = |writer: &mut Writer, i| {
            append(writer, request(i));
            let (done, durable) = mpsc::channel();
            writer.when_durable(move || _ = done.send(()));
            durable.recv().expect("an fsync that works");
        };
        bencher.iter_custom(|n| timed(n, |folder| writer(folder, Fsync::Always), wait));
    });
    group.finish();
    criterion.final_summary();
}
