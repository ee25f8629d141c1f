//! Any text as a PromQL query, on the 2 MiB stack of a server's thread: it is read or refused; what is read is
//! evaluated, at one moment and over a range, and dropped.

#![no_main]

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use sloburn::promql::{
    Bucket, EvalLimits, Evaluation, FloatHistogram, FloatSample, HistogramSample, ParseLimits, Query, Selection,
    SeriesView, Storage, StorageError, instant, range,
};
use sloburn::types::{Labels, METRIC_NAME, Span, Timestamp};

const STACK_BYTES: usize = 2 << 20;

/// A few series under the name of whatever is asked for.
struct Few(Vec<(Arc<Labels>, Vec<FloatSample>, Vec<HistogramSample>)>);

impl Storage for Few {
    fn select(
        &self,
        selection: &Selection<'_>,
        visit: &mut dyn FnMut(SeriesView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        for (labels, floats, histograms) in &self.0 {
            let fits = |m: &&sloburn::types::Matcher| &*m.name != METRIC_NAME;
            if !selection.matchers.iter().filter(fits).all(|m| m.matches(labels.get(&m.name).unwrap_or(""))) {
                continue;
            }
            if visit(SeriesView { labels, floats, float_starts: &[], histograms }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

static FEW: LazyLock<Few> = LazyLock::new(|| {
    let floats = |factor: f64| {
        (0..20).map(|i| FloatSample { at: Timestamp(i * 15_000), value: (i % 7) as f64 * factor }).collect::<Vec<_>>()
    };
    let histograms = (20..25)
        .map(|i| {
            let positive = vec![Bucket { index: i as i32 - 22, count: i as f64 }];
            let histogram = FloatHistogram { count: i as f64, sum: 1.0, positive, ..FloatHistogram::default() };
            HistogramSample { at: Timestamp(i * 15_000), start: None, histogram: Arc::new(histogram) }
        })
        .collect();
    let labels = |le: &str| Arc::new(Labels::new().with(METRIC_NAME, "m_total").with("job", "a").with("le", le));
    Few(vec![
        (labels("1"), floats(1.0), Vec::new()),
        (labels("+Inf"), floats(f64::NAN), histograms),
        (labels(""), Vec::new(), Vec::new()),
    ])
});

fuzz_target!(|text: &str| {
    let text = text.to_owned();
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let Ok(query) = Query::parse(&text, &ParseLimits::default()) else { return };
        let asked = std::cell::Cell::new(0_u32);
        let should_stop = || {
            asked.set(asked.get() + 1);
            asked.get() > 10_000
        };
        let setup = Evaluation {
            storage: &*FEW,
            lookback: Span::minutes(5),
            subquery_step: Span::minutes(1),
            limits: EvalLimits { samples: 100_000 },
            should_stop: &should_stop,
        };
        let _ = instant(&query, Timestamp(300_000), &setup);
        let _ = range(&query, Timestamp(0), Timestamp(400_000), Span::seconds(20), &setup);
    });
    thread.expect("a thread").join().expect("no panic");
});
