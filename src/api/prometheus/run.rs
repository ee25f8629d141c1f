//! Work for a reader on a thread of its own: bounded in number and time, and given up when nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use super::limits::QuerySettings;
use super::parsed::Parsed;
use super::status::About;
use crate::api::ApiError;
use crate::clock::Steady;
use crate::promql::{EvalError, EvalLimits, Evaluation, Query, Storage};
use crate::store::Store;
use crate::types::Span;

/// The step of a subquery that names none: Prometheus' default evaluation interval.
const SUBQUERY_STEP: Span = Span::minutes(1);

/// What answers queries.
#[derive(Debug)]
pub struct Querier {
    /// The samples.
    pub store: Store,
    /// Bounds.
    pub settings: QuerySettings,
    /// What is said about this process.
    pub about: About,
    permits: Arc<Semaphore>,
    pub(super) parsed: Parsed,
}

/// Says when to stop: when the time is over, or nobody waits any more.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    abandoned: Arc<AtomicBool>,
    clock: Steady,
    timeout: Span,
}

/// Dropped with the request.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stop {
    pub fn is_due(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed) || self.is_late()
    }

    fn is_late(&self) -> bool {
        self.clock.elapsed() >= self.timeout
    }

    /// Why it was due, in Prometheus' words.
    fn reason(&self) -> ApiError {
        if self.is_late() {
            ApiError::Timeout("query timed out in expression evaluation".to_owned())
        } else {
            ApiError::Canceled("query was canceled in expression evaluation".to_owned())
        }
    }

    /// Gives up when due.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.is_due() { Err(self.reason()) } else { Ok(()) }
    }

    /// What an evaluation's error means to a client.
    pub fn explain(&self, error: EvalError) -> ApiError {
        match error {
            EvalError::Stopped => self.reason(),
            EvalError::Storage(error) => ApiError::Internal(format!("expanding series: {error}")),
            EvalError::TooManySamples | EvalError::Execution(_) => ApiError::Execution(error.to_string()),
        }
    }
}

impl Querier {
    /// Over a store, within bounds.
    pub fn new(store: Store, settings: QuerySettings, about: About) -> Self {
        let permits = Arc::new(Semaphore::new(settings.max_concurrency.max(1)));
        Self { store, settings, about, permits, parsed: Parsed::default() }
    }

    /// Runs `work`, which must ask often whether to stop, when there is room for it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        timeout: Option<Span>,
        work: impl FnOnce(&Stop) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let timeout = timeout.map_or(self.settings.timeout, |timeout| timeout.min(self.settings.timeout));
        let stop = Stop { abandoned: Arc::default(), clock: Steady::start(), timeout };
        let waiting = Waiting(Arc::clone(&stop.abandoned));
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(timeout.to_std(), permit).await;
        let Ok(Ok(permit)) = permit else {
            return Err(ApiError::Timeout("query timed out in query queue".to_owned()));
        };
        let done = tokio::task::spawn_blocking(move || {
            let result = stop.check().and_then(|()| work(&stop));
            // Also when nobody waits: what is abandoned counts until it has ended.
            drop(permit);
            result
        });
        let result = done.await;
        drop(waiting);
        result.unwrap_or_else(|error| Err(ApiError::Internal(format!("the query failed: {error}"))))
    }

    /// Queries evaluated now.
    pub fn running(&self) -> usize {
        self.settings.max_concurrency.max(1) - self.permits.available_permits()
    }
}

/// Evaluates over a storage within the bounds.
pub(super) fn evaluate<T>(
    storage: &dyn Storage,
    settings: &QuerySettings,
    lookback: Option<Span>,
    stop: &Stop,
    evaluate: impl FnOnce(&Evaluation<'_>) -> Result<T, EvalError>,
) -> Result<T, ApiError> {
    let evaluation = Evaluation {
        storage,
        lookback: lookback.unwrap_or(settings.lookback),
        subquery_step: SUBQUERY_STEP,
        limits: EvalLimits { samples: settings.max_samples },
        should_stop: &|| stop.is_due(),
    };
    evaluate(&evaluation).map_err(|error| stop.explain(error))
}

/// A parsed query, or Prometheus' complaint about its parameter.
pub(super) fn parse(parsed: &Parsed, text: &str) -> Result<Arc<Query>, ApiError> {
    parsed.parse(text).map_err(|error| super::form::invalid("query", &error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::store;
    use crate::wire::WireKey;

    fn querier(max_concurrency: usize) -> Querier {
        let store = Store::new(store::Settings::new(WireKey::new([1; crate::wire::WIRE_KEY_SIZE_BYTES])), &[]);
        let settings = QuerySettings { max_concurrency, ..QuerySettings::default() };
        Querier::new(store, settings, About::default())
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_room_waits_until_its_time_is_over() {
        let querier = Arc::new(querier(1));
        let (release, released) = mpsc::channel::<()>();
        let (begin, mut begun) = tokio::sync::mpsc::channel(1);
        let busy = Arc::clone(&querier);
        let first = tokio::spawn(async move {
            let work = move |_: &Stop| {
                let _ = begin.blocking_send(());
                let _ = released.recv();
                Ok(1)
            };
            busy.run(None, work).await
        });
        begun.recv().await.unwrap();
        assert_eq!(querier.running(), 1);
        let other = Arc::clone(&querier);
        let waiting = tokio::spawn(async move { other.run(Some(Span::seconds(5)), |_| Ok(2)).await });
        tokio::task::yield_now().await;
        // Time does not pass by itself while a thread is busy.
        tokio::time::advance(std::time::Duration::from_secs(6)).await;
        let late = waiting.await.unwrap();
        assert_eq!(late, Err(ApiError::Timeout("query timed out in query queue".to_owned())));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(1));
        assert_eq!(querier.run(None, |_| Ok(3)).await, Ok(3));
    }

    #[tokio::test]
    async fn work_nobody_waits_for_is_told_to_stop() {
        let querier = Arc::new(querier(1));
        let (begin, mut begun) = tokio::sync::mpsc::channel(1);
        let (end, mut ended) = tokio::sync::mpsc::channel(1);
        let busy = Arc::clone(&querier);
        let request = tokio::spawn(async move {
            let work = move |stop: &Stop| {
                let _ = begin.blocking_send(());
                while stop.check().is_ok() {
                    std::thread::yield_now();
                }
                let _ = end.blocking_send(stop.explain(EvalError::Stopped));
                Ok(())
            };
            busy.run(None, work).await
        });
        begun.recv().await.unwrap();
        request.abort();
        let reason = ended.recv().await.unwrap();
        assert_eq!(reason, ApiError::Canceled("query was canceled in expression evaluation".to_owned()));
        // Its place is free again.
        assert_eq!(querier.run(None, |_| Ok(3)).await, Ok(3));
    }

    #[tokio::test]
    async fn work_past_its_time_is_told_so() {
        let querier = querier(1);
        let result = querier.run(Some(Span::ZERO), |_| Ok(())).await;
        assert!(matches!(result, Err(ApiError::Timeout(_))), "{result:?}");
    }
}
