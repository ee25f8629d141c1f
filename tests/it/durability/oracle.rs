//! Senders that know what they sent: counters that only go up, sent again until they are acknowledged, and the sums that
//! an SLO over them must show.

use sloburn::clock;
use sloburn::types::Timestamp;
use sloburn::wire::proto::TimeSeries;
use tokio::sync::watch;
use url::Url;

use crate::daemon::{body_of, client, write_headers};

/// Good and bad requests between two scrapes are below this.
const STEP_LIMIT: u64 = 1_000;
/// From one scrape to the next, in the senders' made-up time.
const INTERVAL_MILLIS: i64 = 500;
/// The made-up time begins this long ago: room for a day of scrapes.
const START_MILLIS: i64 = 86_400_000;

/// SplitMix64 (Steele, Lea, Flood 2014): the same moments and counts for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// One instance of the service `shop`.
pub struct Sender {
    instance: String,
    random: Random,
    at: i64,
    good: u64,
    bad: u64,
    /// What counts: all but the first scrape, from which nothing can be told.
    pub counted_good: u64,
    pub counted_bad: u64,
    scrapes: u64,
    client: reqwest::Client,
}

impl Sender {
    pub fn new(number: u64, seed: u64) -> Self {
        Self {
            instance: format!("10.0.0.{number}:80"),
            random: Random(seed ^ (number << 32)),
            at: clock::now().as_millis() - START_MILLIS,
            good: 1_000,
            bad: 500,
            counted_good: 0,
            counted_bad: 0,
            scrapes: 0,
            client: client(),
        }
    }

    /// The body of the next scrape.
    pub fn scrape(&mut self) -> Vec<u8> {
        self.at += INTERVAL_MILLIS;
        let (good, bad) = (self.random.below(STEP_LIMIT), self.random.below(STEP_LIMIT) / 100);
        self.good += good;
        self.bad += bad;
        if self.scrapes > 0 {
            self.counted_good += good;
            self.counted_bad += bad;
        }
        self.scrapes += 1;
        let series = [("200", self.good), ("500", self.bad)].map(|(code, value)| {
            let labels = [
                ("__name__", "http_requests_total"),
                ("code", code),
                ("instance", self.instance.as_str()),
                ("job", "shop"),
            ];
            TimeSeries::new(labels, &[(self.at, value as f64)])
        });
        body_of(&series)
    }

    /// Whether a daemon acknowledges a body.
    pub async fn post(&self, url: &Url, body: Vec<u8>) -> Result<(), String> {
        let request = self.client.post(url.join("/api/v1/write").unwrap()).headers(write_headers()).body(body);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        match answer.status().as_u16() {
            204 => Ok(()),
            status => Err(format!("{status}: {}", answer.text().await.unwrap_or_default())),
        }
    }

    /// Sends one scrape after the other to both: each again and again to the one that dies, until it says that it has
    /// it; once to the one that does not. Ends after `stop`, with everything acknowledged.
    pub async fn run(mut self, mut mortal: watch::Receiver<Url>, immortal: Url, stop: watch::Receiver<bool>) -> Self {
        while !*stop.borrow() {
            let body = self.scrape();
            self.post(&immortal, body.clone()).await.expect("nothing happens to this one");
            loop {
                let url = mortal.borrow_and_update().clone();
                match self.post(&url, body.clone()).await {
                    Ok(()) => break,
                    // A new one comes.
                    Err(_) => mortal.changed().await.expect("the test goes on"),
                }
            }
        }
        self
    }

    pub fn last_sample(&self) -> Timestamp {
        Timestamp(self.at)
    }
}
