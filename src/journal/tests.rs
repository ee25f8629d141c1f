//! The journal on a disk that fails: at every operation, during recovery too, with and without power.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use super::sim::{Crash, Disk};
use super::*;
use crate::wire::Protocol;

/// What stands for an engine: the numbers it was told, in order.
type State = Vec<u32>;

const WRITE: Kind = Kind::Write(Protocol::V1);

fn journal(disk: &Disk, fsync: Fsync) -> Journal {
    let options = Options {
        fsync,
        segment_limit_bytes: 300,
        retention_limit_bytes: 600,
        retention_time: Span::days(1),
        free_floor_bytes: 0,
        seed: 42,
    };
    Journal::new(Arc::new(disk.clone()), options)
}

fn body(number: u32) -> Vec<u8> {
    // Lengths differ, so that records lie across each other's places after a tear.
    let mut body = number.to_le_bytes().to_vec();
    body.resize(4 + number as usize % 23, number as u8);
    body
}

fn number(bytes: &[u8]) -> u32 {
    let number = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    assert_eq!(bytes, body(number), "a record is whole");
    number
}

/// The newest good checkpoint and the log after it.
fn recover(journal: &Journal) -> Option<(State, Reading)> {
    let restore = |checkpoint: &Checkpoint| {
        Ok(checkpoint.state.chunks(4).map(|n| u32::from_le_bytes(n.try_into().unwrap())).collect::<State>())
    };
    let (mut state, position, newest) = match journal.latest(restore).ok()? {
        Some((state, standing)) => (state, standing.position, standing.newest),
        None => (State::new(), Position::default(), Timestamp::MIN),
    };
    let visit = &mut |_: &Progress, record: Record<'_>| {
        state.push(number(record.body));
        ControlFlow::Continue(())
    };
    let reading = journal.read(position, newest, visit).ok()?;
    Some((state, reading))
}

fn checkpoint(journal: &Journal) -> Option<()> {
    let (state, reading) = recover(journal)?;
    let state: Vec<u8> = state.iter().flat_map(|n| n.to_le_bytes()).collect();
    let (position, newest, gaps) = (reading.end, reading.newest, reading.gaps);
    let standing = Standing { position, newest, specs: b"specs".to_vec(), gaps };
    let mut writer = journal.begin_checkpoint(&standing).ok()?;
    let (first, rest) = state.split_at(state.len() / 2);
    writer.append(first).ok()?;
    writer.append(rest).ok()?;
    writer.finish().ok()?;
    journal.clean(newest).ok().map(drop)
}

/// Recovers, then writes numbers until the end or a fault, with checkpoints; those acknowledged are added to `acked`.
/// Returns what was recovered.
fn run(disk: &Disk, fsync: Fsync, numbers: std::ops::Range<u32>, acked: &mut Vec<u32>) -> Option<State> {
    let journal = journal(disk, fsync);
    let (state, reading) = recover(&journal)?;
    let mut writer = journal.writer(&reading, |_| {}).ok()?;
    for n in numbers {
        let (body, at) = (body(n), Timestamp(i64::from(n)));
        let entry = Entry { kind: WRITE, body: &body, body_sum: body_sum(&body) };
        let (done, acknowledged) = mpsc::channel();
        if writer.append(entry, at).is_err() {
            break;
        }
        writer.when_durable(move || done.send(()).unwrap());
        if acknowledged.recv().is_err() {
            break;
        }
        acked.push(n);
        if n % 7 == 6 {
            checkpoint(&journal);
        }
    }
    Some(state)
}

/// Holds what was recovered against what was acknowledged.
fn check(state: &State, acked: &[u32], lossless: bool, context: &str) {
    assert!(state.windows(2).all(|pair| pair[0] < pair[1]), "{context}: in order and once: {state:?}");
    if lossless {
        let lost: Vec<_> = acked.iter().filter(|n| !state.contains(n)).collect();
        assert!(lost.is_empty(), "{context}: lost {lost:?}, recovered {state:?}");
    }
}

/// Crashes at every operation of a run, and again at every operation of the recovery after it.
fn crash_everywhere(fsync: Fsync, crash: Crash) {
    let lossless = crash == Crash::Kill || fsync == Fsync::Always;
    let mut crashes = 0;
    for operation in 1.. {
        let disk = Disk::new(operation);
        let mut acked = Vec::new();
        // Something to recover from, then the run that ends early.
        run(&disk, fsync, 0..20, &mut acked).unwrap();
        disk.restart(Crash::Kill);
        disk.crash_at(operation);
        run(&disk, fsync, 20..50, &mut acked);
        if !disk.is_down() {
            break;
        }
        disk.restart(crash);
        let context = format!("{fsync:?}, {crash:?} at operation {operation}");
        for again in 1.. {
            let copy = disk.copy();
            copy.crash_at(again);
            let mut acked_again = acked.clone();
            run(&copy, fsync, 50..53, &mut acked_again);
            crashes += 1;
            let down = copy.is_down();
            copy.restart(Crash::Kill);
            let (state, reading) = recover(&journal(&copy, fsync)).unwrap();
            check(&state, &acked_again, lossless, &format!("{context}, then at {again}"));
            let (once_more, _) = recover(&journal(&copy, fsync)).unwrap();
            assert_eq!(state, once_more, "recovery converges");
            // What is written from now on is read too.
            drop(journal(&copy, fsync).writer(&reading, |_| {}).unwrap());
            run(&copy, fsync, 60..62, &mut acked_again).unwrap();
            let (state, _) = recover(&journal(&copy, fsync)).unwrap();
            check(&state, &[60, 61], true, &context);
            if !down {
                break;
            }
        }
    }
    assert!(crashes > 500, "{crashes} crashes");
}

#[test]
fn a_kill_at_any_operation_loses_nothing_acknowledged() {
    for fsync in [Fsync::Always, Fsync::Off] {
        crash_everywhere(fsync, Crash::Kill);
    }
}

#[test]
fn a_power_loss_at_any_operation_loses_nothing_that_was_synced() {
    crash_everywhere(Fsync::Always, Crash::PowerLoss);
    crash_everywhere(Fsync::Off, Crash::PowerLoss);
}

/// A disk with these numbers in its log, and no checkpoint.
fn written(numbers: std::ops::Range<u32>) -> Disk {
    let disk = Disk::new(1);
    let journal = journal(&disk, Fsync::Off);
    let mut writer = journal.writer(&recover(&journal).unwrap().1, |_| {}).unwrap();
    for n in numbers {
        append(&mut writer, n).unwrap();
    }
    disk
}

fn append(writer: &mut Writer, n: u32) -> Result<u64, AppendError> {
    let body = body(n);
    let entry = Entry { kind: WRITE, body: &body, body_sum: body_sum(&body) };
    writer.append(entry, Timestamp(i64::from(n) * 1_000))
}

#[test]
fn a_flipped_bit_costs_one_record_and_says_when() {
    let whole = written(0..30);
    let names: Vec<_> = journal(&whole, Fsync::Off).segments().unwrap();
    assert!(names.len() > 3);
    for segment in &names {
        for byte in format::SEGMENT_HEADER_BYTES..segment.bytes as usize {
            let disk = whole.copy();
            disk.flip(&Segment::name(segment.number), byte * 8 + byte % 8);
            let (state, reading) = recover(&journal(&disk, Fsync::Off)).unwrap();
            let lost: Vec<u32> = (0..30).filter(|n| !state.contains(n)).collect();
            let [lost] = lost[..] else { panic!("{lost:?} lost by byte {byte} of {segment:?}") };
            let at = |n: u32| Timestamp(i64::from(n) * 1_000);
            if lost == 29 {
                continue; // The last one may look torn.
            }
            let from = if lost == 0 { Timestamp::MIN } else { at(lost - 1) };
            assert_eq!(reading.gaps, [Gap { from, to: at(lost + 1), records: 1 }], "byte {byte} of {segment:?}");
        }
    }
}

#[test]
fn a_part_of_the_log_is_read_by_time_and_segment() {
    let journal = journal(&written(0..30), Fsync::Off);
    let read = |from: Position, last_segment| {
        let mut numbers = Vec::new();
        let visit = &mut |_: &Progress, record: Record<'_>| {
            numbers.push(number(record.body));
            ControlFlow::Continue(())
        };
        let reading = journal.read_until(from, last_segment, Timestamp::MIN, visit).unwrap();
        assert_eq!(reading.gaps, [], "what was not asked for is not missing");
        numbers
    };
    assert_eq!(read(Position::default(), u64::MAX), (0..30).collect::<Vec<_>>());
    let segments = journal.segments().unwrap();
    assert!(segments.len() > 3);
    for segment in &segments {
        let until = read(Position::default(), segment.number).len() as u32;
        for n in 0..until {
            let from = journal.since(Timestamp(i64::from(n) * 1_000)).unwrap();
            let found = read(from, segment.number);
            assert_eq!(found, (found[0]..until).collect::<Vec<_>>());
            // Its own segment and no other before it.
            let own = segments.iter().find(|segment| read(Position::default(), segment.number).contains(&n)).unwrap();
            assert_eq!((from.segment, from.sequence), (own.number, u64::from(found[0])));
        }
    }
    assert_eq!(journal.since(Timestamp::MIN).unwrap(), journal.oldest().unwrap());
}

#[test]
fn a_missing_or_empty_segment_is_a_gap() {
    let whole = written(0..30);
    let segments = journal(&whole, Fsync::Off).segments().unwrap();
    let name = Segment::name(segments[1].number);
    let missing = whole.copy();
    missing.lose(&name);
    let empty = missing.copy();
    empty.place_empty(&name);
    let cut = whole.copy();
    cut.lose(&Segment::name(segments[0].number));
    for (disk, from_start) in [(missing, false), (empty, false), (cut, true)] {
        let (state, reading) = recover(&journal(&disk, Fsync::Off)).unwrap();
        let [gap] = reading.gaps[..] else { panic!("{:?}", reading.gaps) };
        assert_eq!(gap.records, 30 - state.len() as u64);
        assert_eq!(gap.from == Timestamp::MIN, from_start);
        // It goes on, and the gap stays known.
        let journal = journal(&disk, Fsync::Off);
        append(&mut journal.writer(&reading, |_| {}).unwrap(), 30).unwrap();
        let (state, again) = recover(&journal).unwrap();
        assert_eq!((state.last(), again.gaps), (Some(&30), reading.gaps));
    }
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_and_then_to_the_log() {
    let disk = Disk::new(3);
    let fsync = Fsync::Off;
    let mut options = journal(&disk, fsync).options().clone();
    options.retention_limit_bytes = u64::MAX;
    let journal = Journal::new(Arc::new(disk.clone()), options);
    let mut writer = journal.writer(&recover(&journal).unwrap().1, |_| {}).unwrap();
    for n in 0..40 {
        append(&mut writer, n).unwrap();
        if n % 10 == 9 {
            checkpoint(&journal).unwrap();
        }
    }
    drop(writer);
    let all: State = (0..40).collect();
    let names = journal.checkpoints().unwrap();
    assert_eq!(names.len(), 2, "two are kept: {names:?}");
    for byte in 0..disk_len(&disk, &names[0]) {
        let copy = disk.copy();
        copy.flip(&names[0], byte * 8 + 3);
        let journal = Journal::new(Arc::new(copy), journal.options().clone());
        let (state, reading) = recover(&journal).unwrap();
        assert_eq!((&state, reading.gaps.len()), (&all, 0), "byte {byte}");
        assert!(reading.progress.records > 0, "byte {byte}: the older one needs log");
        assert_eq!(journal.checkpoints().unwrap(), names[1..], "the damaged one is put aside");
    }
    for name in &names {
        disk.flip(name, 100);
    }
    let (state, reading) = recover(&journal).unwrap();
    assert_eq!((state, reading.progress.records), (all, 40));
}

fn disk_len(disk: &Disk, name: &str) -> usize {
    super::disk::Disk::len(disk, name).unwrap() as usize
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let disk = Disk::new(5);
    let journal = journal(&disk, Fsync::Off);
    let mut writer = journal.writer(&recover(&journal).unwrap().1, |_| {}).unwrap();
    let (mut taken, mut refused) = (State::new(), 0);
    for n in 0..200 {
        if n % 50 == 20 {
            // At any length: in a header, in a body, at a new segment.
            disk.set_capacity(Some(disk.used_bytes() + u64::from(n) % 101));
        } else if n % 50 == 40 {
            disk.set_capacity(None);
        }
        match append(&mut writer, n) {
            Ok(_) => taken.push(n),
            Err(AppendError::ReadOnly(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(n % 50 < 40 || writer.read_only().is_none(), "there is room again");
    }
    drop(writer);
    assert!(refused > 40 && taken.len() > 100, "{refused} refused, {} taken", taken.len());
    let (state, reading) = recover(&journal).unwrap();
    assert_eq!((state, reading.gaps), (taken, Vec::new()), "what was taken, and nothing else");
}

#[test]
fn below_the_floor_nothing_is_taken() {
    let disk = Disk::new(5);
    let mut options = journal(&disk, Fsync::Off).options().clone();
    options.free_floor_bytes = 1_000;
    let journal = Journal::new(Arc::new(disk.clone()), options);
    let mut writer = journal.writer(&recover(&journal).unwrap().1, |_| {}).unwrap();
    disk.set_capacity(Some(999));
    assert!(matches!(append(&mut writer, 0), Err(AppendError::ReadOnly(_))));
    disk.set_capacity(Some(1_010));
    assert!(matches!(append(&mut writer, 0), Err(AppendError::ReadOnly(_))), "a little room is not enough");
    disk.set_capacity(Some(2_000));
    assert_eq!(append(&mut writer, 0), Ok(0));
}

#[test]
fn what_is_synced_by_hand_outlives_the_power_under_every_policy() {
    for (fsync, seed) in
        [Fsync::Always, Fsync::EverySecond, Fsync::Off].into_iter().flat_map(|f| (0..8).map(move |s| (f, s)))
    {
        let disk = Disk::new(seed);
        let journal = journal(&disk, fsync);
        let mut writer = journal.writer(&recover(&journal).unwrap().1, |_| {}).unwrap();
        append(&mut writer, 0).unwrap();
        append(&mut writer, 1).unwrap();
        writer.sync().unwrap();
        disk.restart(Crash::PowerLoss);
        assert_eq!(recover(&journal).unwrap().0, [0, 1], "{fsync:?} {seed}");
        append(&mut writer, 2).unwrap();
        disk.fail_sync();
        assert!(writer.sync().is_err(), "{fsync:?} {seed}");
    }
}

#[test]
fn a_failed_fsync_ends_it() {
    for fsync in [Fsync::Always, Fsync::EverySecond] {
        let disk = Disk::new(7);
        let journal = journal(&disk, fsync);
        let (failed, failure) = mpsc::channel();
        let on_failure = move |message: &str| failed.send(message.to_owned()).unwrap();
        let mut writer = journal.writer(&recover(&journal).unwrap().1, on_failure).unwrap();
        disk.fail_sync();
        append(&mut writer, 0).unwrap();
        let acknowledged = Arc::new(Mutex::new(false));
        let told = Arc::clone(&acknowledged);
        if fsync == Fsync::Always {
            writer.when_durable(move || *told.lock().unwrap() = true);
        }
        let message = failure.recv().unwrap();
        assert!(message.starts_with("fsync failed: input/output error"), "{message}");
        assert_eq!(append(&mut writer, 1), Err(AppendError::Stopped(message)), "and it is not tried again");
        drop(writer);
        assert!(!*acknowledged.lock().unwrap(), "what may be lost is not acknowledged");
    }
}

#[test]
fn old_log_goes_when_nothing_needs_it() {
    let disk = Disk::new(9);
    let journal = journal(&disk, Fsync::Off);
    let mut acked = Vec::new();
    run(&disk, Fsync::Off, 0..6, &mut acked).unwrap();
    assert_eq!(journal.clean(Timestamp(i64::MAX / 2)).unwrap(), 0, "without two checkpoints everything is needed");
    run(&disk, Fsync::Off, 6..60, &mut acked).unwrap();
    let total_bytes: u64 = journal.segments().unwrap().iter().map(|s| s.bytes).sum();
    assert!(total_bytes < 600 + 3 * 400, "{total_bytes}");
    // And by age.
    let more = Options { retention_limit_bytes: u64::MAX, ..journal.options().clone() };
    let patient = Journal::new(Arc::new(disk.clone()), more);
    let mut writer = patient.writer(&recover(&patient).unwrap().1, |_| {}).unwrap();
    for n in 60..90 {
        append(&mut writer, n).unwrap();
        acked.push(n);
    }
    drop(writer);
    checkpoint(&patient).unwrap();
    append(&mut patient.writer(&recover(&patient).unwrap().1, |_| {}).unwrap(), 90).unwrap();
    acked.push(90);
    checkpoint(&patient).unwrap();
    let begun_at = Timestamp(60_000);
    assert_eq!(patient.clean(begun_at + Span::hours(23)).unwrap(), 0);
    assert!(patient.clean(begun_at + Span::days(2)).unwrap() > 0);
    assert_eq!(recover(&journal).unwrap().0, acked);
}
