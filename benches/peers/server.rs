//! The servers: how each is started on its cores, and what its process has used.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

/// The core of the servers, and that of the sender.
pub const SERVER_CORE: &str = "0";
pub const BOTH_CORES: &str = "0,1";
const SENDER_CORE: &str = "1";

/// A server is up within this time.
const START_TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sloburn,
    Prometheus,
    VictoriaMetrics,
}

/// A binary to measure.
#[derive(Clone, Debug)]
pub struct Peer {
    pub kind: Kind,
    /// With its version.
    pub name: String,
    binary: PathBuf,
}

/// What there is to measure.
#[derive(Debug)]
pub struct Peers(Vec<Peer>);

impl Peers {
    /// sloburn, or another build of it that `SLOBURN` names, and what `PROMETHEUS` and `VICTORIA_METRICS` name.
    pub fn from_environment() -> anyhow::Result<Self> {
        let own = std::env::var_os("SLOBURN").unwrap_or_else(|| env!("CARGO_BIN_EXE_sloburn").into());
        let mut peers = vec![Peer::new(Kind::Sloburn, own.into())?];
        for (variable, kind) in [("PROMETHEUS", Kind::Prometheus), ("VICTORIA_METRICS", Kind::VictoriaMetrics)] {
            match std::env::var_os(variable) {
                Some(binary) => peers.push(Peer::new(kind, binary.into())?),
                None => println!("{variable} is not set: measured without"),
            }
        }
        Ok(Self(peers))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.0.iter()
    }

    pub fn get(&self, kind: Kind) -> Option<&Peer> {
        self.iter().find(|peer| peer.kind == kind)
    }
}

impl Peer {
    fn new(kind: Kind, binary: PathBuf) -> anyhow::Result<Self> {
        let output = Command::new(&binary).arg("--version").output();
        let output = output.with_context(|| format!("cannot run {}", binary.display()))?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // `prometheus, version 3.5.3+ds1 (...)`, `victoria-metrics-20240101-v1.145.0`, `sloburn 0.1.0`; some builds say nothing.
        let is_version = |word: &&str| word.contains('.') && word.chars().any(|c| c.is_ascii_digit());
        let word = text.split([' ', '-', '+', '\n', ',']).find(is_version).unwrap_or_default();
        let name = match kind {
            Kind::Sloburn => "sloburn",
            Kind::Prometheus => "Prometheus",
            Kind::VictoriaMetrics => "VictoriaMetrics",
        };
        Ok(Self { kind, name: format!("{name} {}", word.trim_start_matches('v')).trim_end().to_owned(), binary })
    }

    /// A command that keeps to these cores.
    pub fn command(&self, cores: &str) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", cores]).arg(&self.binary);
        command
    }

    /// Starts the server on these cores. `files` are put into its folder first; `args` may name them.
    pub fn start(&self, cores: &str, args: &[&str], files: &[(&str, String)]) -> anyhow::Result<Server> {
        let folder = TempDir::new()?;
        for (name, content) in files {
            fs::write(folder.path().join(name), content)?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = self.command(cores);
        match self.kind {
            Kind::Sloburn => {
                command.arg("serve").arg(format!("--web.listen-address={address}")).arg("--storage.path=data");
            }
            Kind::Prometheus => {
                if !files.iter().any(|(name, _)| *name == "prometheus.yml") {
                    fs::write(folder.path().join("prometheus.yml"), "")?;
                }
                command.arg(format!("--web.listen-address={address}")).arg("--web.enable-remote-write-receiver");
                command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
            }
            Kind::VictoriaMetrics => {
                command.arg(format!("-httpListenAddr={address}")).arg("-storageDataPath=data");
            }
        }
        let log = fs::File::create(folder.path().join("log"))?;
        command.args(args).current_dir(folder.path()).stdin(Stdio::null());
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.context("cannot run taskset, from the package util-linux")?;
        let mut server = Server { kind: self.kind, child, address, folder };
        server.wait()?;
        Ok(server)
    }
}

/// A running server; it ends, and its folder goes, when this is dropped.
pub struct Server {
    kind: Kind,
    child: Child,
    pub address: SocketAddr,
    folder: TempDir,
}

impl Server {
    fn wait(&mut self) -> anyhow::Result<()> {
        let path = match self.kind {
            Kind::Sloburn | Kind::Prometheus => "/-/ready",
            Kind::VictoriaMetrics => "/health",
        };
        let start = Instant::now();
        loop {
            if self.ask("GET", path).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            let is_late = start.elapsed() > START_TIMEOUT;
            if is_late || self.child.try_wait()?.is_some() {
                let log = fs::read_to_string(self.folder.path().join("log"))?;
                bail!("the server is not up {:?} after its start:\n{log}", start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The whole answer to a request without a body.
    fn ask(&self, method: &str, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// A POST without a body, answered with 200.
    pub fn post(&self, path: &str) -> anyhow::Result<()> {
        let answer = self.ask("POST", path)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        Ok(())
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Seconds that its threads have run for.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        cpu_of(self.child.id())
    }

    /// Of memory, now.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most that was ever resident.
    pub fn peak_bytes(&self) -> anyhow::Result<u64> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
        Ok(1_024 * line.trim().trim_end_matches(" kB").parse::<u64>()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds that a process' threads have run for, in user and system: those that are there (`proc(5)`, `schedstat`). The
/// process' own times would come in steps of 10 ms.
fn cpu_of(pid: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look.
        let Ok(times) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanoseconds += times.split_whitespace().next().context("no time in schedstat")?.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Seconds that this process has run for, threads that have ended included.
pub fn own_cpu() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// Keeps this process to a core, those of its threads that start later included.
pub fn pin(cores: &str) -> anyhow::Result<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("taskset").args(["-acp", cores, &pid]).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "this machine has no core {cores}: two are needed");
    Ok(())
}

/// Keeps this process off the servers' core.
pub fn pin_sender() -> anyhow::Result<()> {
    pin(SENDER_CORE)
}

/// The processor, its cores and the day.
pub fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let day = sloburn::clock::now().to_string();
    format!("{}, {cores} cores, {}", model.map_or("unknown processor", |(_, name)| name), &day[..day.len().min(10)])
}
