//! `sloburn demo`: the daemon against simulated services, with nothing installed.
//!
//! Nothing in it is staged but the traffic: `traffic` makes up what six services count, `sender` sends that to the
//! daemon's own address by remote write, the daemon judges it as it would judge anybody's, and `sink` receives
//! the signed webhooks. `story` decides what happens to the services and tells of it.

mod screen;
mod sender;
mod sink;
mod specs;
mod story;
#[cfg(test)]
mod tests;
mod traffic;
mod view;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use url::Url;

use crate::api::{About, QuerySettings};
use crate::app::{
    self, Daemon, HttpSettings, RuleGroups, ServerError, StartError, StoreSettings, default_external_url,
};
use crate::clock::{self, Steady};
use crate::live::EngineHandle;
use crate::notify::{self, Receivers, WebhookTarget};
use crate::types::{Span, Timestamp};
use crate::wire::{Limits, WIRE_KEY_SIZE_BYTES, WireKey};

use screen::{Ink, Row, Screen, row};
use sender::{SendError, Sender};
use sink::{Delivery, Message, Sink};
use story::{Cue, Story};
use traffic::Traffic;
use view::Mark;

pub use specs::text as spec_text;

/// Where the demo listens unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9797";
/// For one webhook message.
const WEBHOOK_TIMEOUT: Span = Span::seconds(10);
/// Live services are scraped this often.
const SCRAPE_EVERY: Span = Span::seconds(1);
const SERIES_LIMIT: usize = 10_000;
const IN_FLIGHT_LIMIT_BYTES: usize = 64 << 20;

/// What the user chose.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `host:port`; `None` is [`DEFAULT_ADDRESS`], or a free port if that is taken.
    pub listen_address: Option<String>,
    /// Ends the demo by itself.
    pub exit: Option<Exit>,
}

/// When the demo ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Once this has arrived at the webhook.
    pub after: Milestone,
    /// Without success after this long.
    pub timeout: Span,
}

/// A point of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// A release was taken back by the judge, and another one promoted.
    Verdict,
    /// The page about the bad release.
    Page,
    /// The end of a page after the release was taken back.
    Resolved,
}

/// How the demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At the milestone asked for, or because the user had seen enough.
    Complete,
    /// The milestone asked for was not reached in time.
    TimedOut,
}

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The daemon does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// No port to be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The webhook's receiver does not start.
    #[error(transparent)]
    Sink(#[from] ServerError),
    /// For keys and secrets.
    #[error("the system has no random bytes: {0}")]
    Random(getrandom::Error),
    /// The daemon does not take the samples.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The timeline cannot be shown.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    /// The daemon ended while it was needed.
    #[error("the daemon stopped in the middle of the demo")]
    Stopped,
}

/// Runs the demo until `stop` completes or its exit milestone is reached.
///
/// # Errors
/// When a part of it cannot be started or breaks down; never because of how the story goes.
pub async fn run(options: &Options, stop: impl Future<Output = ()>) -> Result<Ending, DemoError> {
    let place = Place::find(options.listen_address.as_deref()).await?;
    let sink = Sink::bind(random()?).await?;
    let daemon = Daemon::start(&specs::services(), settings(&place.address, &sink)?).await?;
    let url = default_external_url(&reachable(daemon.address()).to_string());
    let mut demo = Demo {
        screen: Screen::open(),
        sender: Sender::new(&url)?,
        traffic: Traffic::new(clock::now()),
        story: None,
        engine: daemon.engine(),
        deliveries: sink.deliveries,
        scraped_at: Timestamp::MIN,
        exit_after: options.exit.map(|exit| exit.after),
        next_steps_told: false,
        url,
    };
    // Each stops when it is told to, or its other half is dropped.
    let (stop_sink, sink_stopped) = oneshot::channel::<()>();
    let (stop_daemon, daemon_stopped) = oneshot::channel::<()>();
    let sink_task = tokio::spawn(sink.server.run(async { _ = sink_stopped.await }));
    let mut daemon_task = tokio::spawn(daemon.run(async { _ = daemon_stopped.await }));

    demo.introduce(&sink.url, &place)?;
    let ending = tokio::select! {
        played = demo.play() => played.map(|()| Ending::Complete),
        () = stop => Ok(Ending::Complete),
        () = timeout(options.exit) => Ok(Ending::TimedOut),
        _ = &mut daemon_task => Err(DemoError::Stopped),
    }?;
    demo.tell_next_steps(false)?;
    // The engine runs for as long as somebody holds on to it.
    drop(demo);
    // The daemon goes first: it still delivers what is queued to the sink.
    drop(stop_daemon);
    _ = daemon_task.await;
    drop(stop_sink);
    _ = sink_task.await;
    Ok(ending)
}

async fn timeout(exit: Option<Exit>) {
    match exit {
        Some(exit) => tokio::time::sleep(exit.timeout.to_std()).await,
        None => std::future::pending().await,
    }
}

/// Bytes nobody can foresee.
fn random<const N: usize>() -> Result<[u8; N], DemoError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(DemoError::Random)?;
    Ok(bytes)
}

/// Where to listen.
#[derive(Debug)]
struct Place {
    address: String,
    /// The usual address was taken.
    moved: bool,
}

impl Place {
    /// Tries the address, so that the port is known before links to it are made.
    async fn find(wanted: Option<&str>) -> Result<Self, DemoError> {
        let address = wanted.unwrap_or(DEFAULT_ADDRESS);
        let listen_error = |source| DemoError::Listen { address: address.to_owned(), source };
        let (listener, moved) = match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && wanted.is_none() => {
                (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await, true)
            }
            tried => (tried, false),
        };
        let address = listener.and_then(|listener| listener.local_addr()).map_err(listen_error)?;
        Ok(Self { address: address.to_string(), moved })
    }
}

/// An address to connect to for one to listen on.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn settings(address: &str, sink: &Sink) -> Result<app::Settings, DemoError> {
    let target = WebhookTarget {
        name: "demo".to_owned(),
        url: sink.url.clone(),
        secrets: vec![sink.secret.clone()],
        timeout: WEBHOOK_TIMEOUT,
        send_resolved: true,
    };
    Ok(app::Settings {
        listen_address: address.to_owned(),
        http: HttpSettings::default(),
        enable_lifecycle: false,
        rules: None,
        groups: RuleGroups::default(),
        key: WireKey::new(random::<WIRE_KEY_SIZE_BYTES>()?),
        limits: Limits::default(),
        series_limit: SERIES_LIMIT,
        shards: 1,
        in_flight_limit_bytes: IN_FLIGHT_LIMIT_BYTES,
        query: QuerySettings::default(),
        store: StoreSettings::default(),
        about: About { started: clock::now(), ..About::default() },
        ha: None,
        notify: notify::Settings::new(default_external_url(address)),
        receivers: Receivers { webhooks: vec![target], ..Receivers::default() },
        storage: None,
    })
}

/// A demo while it runs.
#[derive(Debug)]
struct Demo {
    screen: Screen,
    sender: Sender,
    traffic: Traffic,
    /// Begins when the history is in.
    story: Option<Story>,
    engine: EngineHandle,
    deliveries: mpsc::Receiver<Delivery>,
    /// When the latest samples were taken.
    scraped_at: Timestamp,
    exit_after: Option<Milestone>,
    next_steps_told: bool,
    url: Url,
}

impl Demo {
    fn introduce(&mut self, sink_url: &Url, place: &Place) -> io::Result<()> {
        let bare = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        for line in view::header(&bare(&self.url), &bare(sink_url)) {
            self.screen.say(&line)?;
        }
        if place.moved {
            let text = format!("{DEFAULT_ADDRESS} is taken, so a free port is used instead.");
            self.screen.say(&row(Ink::Yellow, text))?;
        }
        Ok(())
    }

    /// Tells the story; returns at the exit milestone, or never.
    async fn play(&mut self) -> Result<(), DemoError> {
        self.send_history().await?;
        self.story = Some(Story::new(clock::now()));
        let mut scrapes = tokio::time::interval(SCRAPE_EVERY.to_std());
        scrapes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What has arrived belongs to samples already sent, so it comes before new ones.
                biased;
                Some(delivery) = self.deliveries.recv() => self.deliver(&delivery)?,
                _ = scrapes.tick() => self.scrape().await?,
            }
            let reached = |milestone| self.story.as_ref().is_some_and(|story| story.has_reached(milestone));
            if self.exit_after.is_some_and(reached) {
                return Ok(());
            }
        }
    }

    async fn send_history(&mut self) -> Result<(), DemoError> {
        let (clock, mut samples) = (Steady::start(), 0);
        let requests = traffic::history(self.traffic.start());
        for (done, times) in requests.iter().enumerate() {
            let line = view::progress(done, requests.len(), samples, clock.elapsed(), self.screen.signs());
            self.screen.progress(line)?;
            let mut series = Vec::new();
            for &at in times {
                self.traffic.scrape(at, &mut series);
            }
            self.scraped_at = clock::now();
            samples += self.sender.send(series).await?;
        }
        self.screen.clear()?;
        self.tell(Mark::Ready, "all services", &view::history_sent(samples, clock.elapsed()))?;
        Ok(())
    }

    /// A second of live traffic.
    async fn scrape(&mut self) -> Result<(), DemoError> {
        let now = clock::now();
        while let Some(cue) = self.story.as_mut().and_then(|story| story.cue(now)) {
            self.act(cue, now)?;
        }
        let mut series = Vec::new();
        self.traffic.scrape(now, &mut series);
        self.scraped_at = now;
        self.sender.send(series).await?;
        let status = view::status(&self.engine.snapshot(), self.screen.signs());
        self.screen.show(status, now)?;
        Ok(())
    }

    fn act(&mut self, cue: Cue, now: Timestamp) -> io::Result<()> {
        match cue {
            Cue::Try => {
                for release in [traffic::TRIED_IN_VAIN, traffic::TRIED_WELL] {
                    let (service, version, failing) = release;
                    self.traffic.expose(release, story::FIRST_SHARE);
                    self.tell(Mark::Canary, service, &story::trial_text(version, failing))?;
                }
                Ok(())
            }
            Cue::Deploy => {
                self.traffic.roll_out(now);
                self.tell(Mark::Deploy, traffic::RELEASED, &story::deploy_text())
            }
            Cue::FailInvoice => {
                self.traffic.fail_once(traffic::LOW_TRAFFIC);
                Ok(())
            }
            Cue::ExplainInvoice => {
                let snapshot = self.engine.snapshot();
                let slo = snapshot.slos.iter().find(|slo| slo.service == traffic::LOW_TRAFFIC);
                let explained = slo.and_then(|slo| Some((slo, view::too_few_events(slo)?)));
                explained.map_or(Ok(()), |(slo, text)| self.tell(Mark::Note, &slo.id, &text))
            }
            Cue::Rollback => {
                self.traffic.roll_back(now);
                self.tell(Mark::Rollback, traffic::RELEASED, &story::rollback_text())
            }
            Cue::End => {
                self.tell_next_steps(true)?;
                let text = "The services go on: availability resolves about 5 minutes after the rollback.";
                self.screen.say(&Row::new())?;
                self.screen.say(&row(Ink::Plain, text))?;
                self.screen.say(&row(Ink::Plain, "Ctrl-C ends the demo."))
            }
        }
    }

    fn deliver(&mut self, delivery: &Delivery) -> io::Result<()> {
        let since = delivery.arrived_at.since(self.scraped_at);
        let at = delivery.arrived_at;
        match &delivery.message {
            Message::Alert(alert) => {
                self.screen.say(&view::alert(at, alert, since, self.screen.signs()))?;
                if let Some(story) = &mut self.story {
                    story.hear(alert, at);
                }
            }
            Message::Rollout(rollout) => {
                if let Some(line) = view::rollout(at, rollout, since, self.screen.signs()) {
                    self.screen.say(&line)?;
                }
                let tried = [traffic::TRIED_IN_VAIN, traffic::TRIED_WELL];
                let release = tried.into_iter().find(|(service, ..)| *service == rollout.service);
                // Here stands the pipeline: it does what the verdict says.
                if let (Some(release), Some(share)) = (release, story::share_after(rollout)) {
                    self.traffic.expose(release, share);
                }
                if let Some(story) = &mut self.story {
                    story.hear_of_rollout(rollout);
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, mark: Mark, subject: &str, text: &str) -> io::Result<()> {
        self.screen.say(&view::event(clock::now(), mark, subject, text, self.screen.signs()))
    }

    /// Says once what to do next.
    fn tell_next_steps(&mut self, running: bool) -> io::Result<()> {
        self.screen.keep();
        if std::mem::replace(&mut self.next_steps_told, true) {
            // Past the `^C` that the terminal shows.
            return self.screen.say(&Row::new());
        }
        let url = Some(&self.url).filter(|_| running);
        view::next_steps(url).iter().try_for_each(|line| self.screen.say(line))
    }
}
