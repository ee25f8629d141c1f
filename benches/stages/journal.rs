//! Appending requests of 2,000 series to the journal, as is done before an answer, beside the plain write of the same
//! bytes to one file. `Durable` waits for the fsync too, one request at a time, so without sharing any. Folders are
//! temporary: set `TMPDIR` to measure another disk.

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};

use sloburn::journal::{Entry, Folder, Fsync, Journal, Kind, Options, Position, Writer, body_sum};
use sloburn::types::Timestamp;
use sloburn::wire::Protocol;
use tempfile::TempDir;

use crate::Stage;
use crate::support::{Fleet, Request, START, Size};

/// One scrape is four requests of 2,000 series.
const FLEET: Size = Size { services: 40, instances: 2, children: 100 };
/// Times that a round appends them.
const SCRAPES: usize = 4;
/// Rounds in one folder before it is removed.
const FOLDER_ROUNDS: usize = 80;

/// A folder with a journal and a plain file.
struct Place {
    journal: Writer,
    plain: File,
    rounds: usize,
    _folder: TempDir,
}

impl Place {
    fn new(fsync: Fsync) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = Options { fsync, free_floor_bytes: 0, ..Options::default() };
        let journal = Journal::new(Arc::new(Folder::new(folder.path())), options);
        let reading = journal.read(Position::default(), Timestamp::MIN, &mut |_, _| ControlFlow::Continue(()));
        let journal = journal.writer(&reading.expect("an empty log"), |_| {}).expect("a folder to write to");
        let plain = File::create(folder.path().join("plain")).expect("a file");
        Self { journal, plain, rounds: 0, _folder: folder }
    }
}

fn append(journal: &mut Writer, Request { body, .. }: &Request) {
    let entry = Entry { kind: Kind::Write(Protocol::V1), body, body_sum: body_sum(body) };
    journal.append(entry, START).expect("room on the disk");
}

/// Appends that are with the system when they return.
pub struct Append {
    requests: Vec<Request>,
    fsync: Fsync,
    place: Place,
}

impl Append {
    pub fn new() -> Self {
        Self::with(Fsync::Off)
    }

    fn with(fsync: Fsync) -> Self {
        Self { requests: Fleet::new(FLEET).scrape(0, START), fsync, place: Place::new(fsync) }
    }

    fn samples(&self) -> usize {
        self.requests.iter().map(|request| request.samples).sum()
    }
}

impl Stage for Append {
    fn elements(&self) -> usize {
        SCRAPES * self.samples()
    }

    fn prepare(&mut self) {
        self.place.rounds += 1;
        if self.place.rounds > FOLDER_ROUNDS {
            self.place = Place::new(self.fsync);
        }
    }

    fn run(&mut self) {
        for _ in 0..SCRAPES {
            self.requests.iter().for_each(|request| append(&mut self.place.journal, request));
        }
    }

    fn floor(&mut self) {
        for _ in 0..SCRAPES {
            for request in &self.requests {
                self.place.plain.write_all(&request.body).expect("room on the disk");
            }
        }
    }
}

/// Appends that are on the disk when they return.
pub struct Durable(Append);

impl Durable {
    pub fn new() -> Self {
        Self(Append::with(Fsync::Always))
    }
}

impl Stage for Durable {
    fn elements(&self) -> usize {
        self.0.samples()
    }

    fn prepare(&mut self) {
        self.0.prepare();
    }

    fn run(&mut self) {
        let Append { requests, place, .. } = &mut self.0;
        for request in &*requests {
            append(&mut place.journal, request);
            let (done, durable) = mpsc::channel();
            place.journal.when_durable(move || _ = done.send(()));
            durable.recv().expect("an fsync that works");
        }
    }

    fn floor(&mut self) {
        let Append { requests, place, .. } = &mut self.0;
        for request in &*requests {
            place.plain.write_all(&request.body).expect("room on the disk");
            place.plain.sync_data().expect("an fsync that works");
        }
    }
}
