//! Child processes under test: their output is kept and shown when a test fails, and each is ended by its own id
//! when dropped.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use sloburn::clock::Steady;
use sloburn::types::Span;

/// Nothing that is waited for takes this long unless it is broken.
pub const PATIENCE: Span = Span::seconds(30);
/// Pause between two questions to another process.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Lines of a process' output that are shown when a test fails.
const TAIL_LIMIT_LINES: usize = 40;

/// A running child.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// What a child has printed, standard output and error together.
#[derive(Default)]
struct Output {
    printed: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    /// Pipes that are still open.
    open: usize,
}

impl Output {
    fn read(self: &Arc<Self>, pipe: impl Read + Send + 'static) {
        self.printed.lock().unwrap().open += 1;
        let output = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                output.printed.lock().unwrap().lines.push(line);
                output.changed.notify_all();
            }
            output.printed.lock().unwrap().open -= 1;
            output.changed.notify_all();
        });
    }
}

impl Process {
    /// Starts a program.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Arc::new(Output::default());
        output.read(child.stdout.take().unwrap());
        output.read(child.stderr.take().unwrap());
        Self { name: name.to_owned(), child, output }
    }

    /// What `found` makes of the first line it recognises; waits for the line to be printed.
    #[track_caller]
    pub fn line<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let first = |printed: &Printed| printed.lines.iter().find_map(|line| found(line));
        let waiting = |printed: &mut Printed| printed.open > 0 && first(printed).is_none();
        let printed = self.output.printed.lock().unwrap();
        let waited = self.output.changed.wait_timeout_while(printed, PATIENCE.to_std(), waiting);
        let found = first(&waited.unwrap().0);
        found.unwrap_or_else(|| panic!("{} did not print {what}\n{}", self.name, self.tail()))
    }

    /// Everything printed so far.
    pub fn log(&self) -> Vec<String> {
        self.output.printed.lock().unwrap().lines.clone()
    }

    /// The end of what was printed.
    pub fn tail(&self) -> String {
        let lines = self.log();
        let from = lines.len().saturating_sub(TAIL_LIMIT_LINES);
        format!("--- {} (process {})\n{}\n", self.name, self.child.id(), lines[from..].join("\n"))
    }

    /// Sends a signal by its name: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, signal: &str) {
        let script = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success(), "{script}");
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn exit(&mut self) -> ExitStatus {
        let printed = self.output.printed.lock().unwrap();
        let open = |printed: &mut Printed| printed.open > 0;
        let (printed, waited) = self.output.changed.wait_timeout_while(printed, PATIENCE.to_std(), open).unwrap();
        drop(printed);
        assert!(!waited.timed_out(), "{} does not end\n{}", self.name, self.tail());
        self.child.wait().unwrap()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The most memory the process has held so far (`VmHWM`), in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "a failing test shows what its processes printed")]
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

/// Asks another process until its answer is as wanted; the one place where tests wait for what no event tells them.
///
/// # Panics
/// After `patience`, with what was wanted and the latest answer. Processes show their output when the test unwinds.
pub async fn until<T>(what: &str, patience: Span, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let clock = Steady::start();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(answer) => assert!(clock.elapsed() < patience, "waited {patience} for {what}; at last: {answer}"),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
