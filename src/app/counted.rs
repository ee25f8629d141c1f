//! Events that queries have counted, written as a sender would write them: into the journal, through the engine, into
//! the store. So a recovery counts them again without evaluating anything.

use bytes::Bytes;

use crate::clock;
use crate::evaluation::Sink;
use crate::live::{Body, EngineHandle, Parcel, Taken};
use crate::ruler::measure::Counted;
use crate::store::Store;
use crate::wire::proto::{Label, Sample, TimeSeries, WriteRequest, encode_v1};
use crate::wire::{Limits, Protocol, WireKey};

/// For a daemon's engine and store. To be made within its tokio runtime, and used outside of it.
pub(super) fn sink(engine: EngineHandle, store: Store, limits: Limits, key: WireKey) -> Sink {
    let runtime = tokio::runtime::Handle::current();
    // The engine stops when the last way to it is gone: this one is given up with the thread that has it.
    Box::new(move |counted| {
        let bytes = Bytes::from(encode_v1(&WriteRequest { timeseries: counted.into_iter().map(series).collect() }));
        let mut parcel = Parcel::default();
        let key = engine.key().unwrap_or(&key);
        parcel.batch.decode(Protocol::V1, &bytes, &limits, key).map_err(|error| error.to_string())?;
        let written = runtime.block_on(engine.write(parcel, Body::new(Protocol::V1, bytes)));
        let Taken { parcel, written } = written.map_err(|error| error.to_string())?;
        for (reason, rejection) in &written.rejected {
            tracing::warn!(reason, samples = rejection.samples, example = rejection.example, "events refused");
        }
        store.write(&parcel.batch, &parcel.findings, clock::now());
        Ok(())
    })
}

fn series((labels, samples): Counted) -> TimeSeries {
    let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    let sample = |(at, value): (crate::types::Timestamp, f64)| Sample { value, timestamp: at.0 };
    TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples.into_iter().map(sample).collect(),
        ..TimeSeries::default()
    }
}
