//! Answers to queries, written straight into text: a value becomes no tree of objects first.

use std::fmt::Write as _;

use super::limits::RESPONSE_LIMIT_BYTES;
use crate::api::ApiError;
use crate::promql::{BucketRange, Data, FloatHistogram, Output, Series, Value, VectorSample};
use crate::types::{Labels, Timestamp, format_value};

/// `{"status":"success","data":{"resultType":...,"result":...}}`, with at most `limit` series and a warning where there
/// are more.
///
/// # Errors
/// When the answer is too large.
pub(super) fn answer(output: &Output, limit: Option<usize>) -> Result<String, ApiError> {
    let mut json = Json(String::with_capacity(1_024));
    json.0.push_str(r#"{"status":"success","data":{"resultType":"#);
    let limit = limit.unwrap_or(usize::MAX);
    let mut is_cut = false;
    match &output.data {
        Data::Scalar(at, value) => {
            json.0.push_str(r#""scalar","result":"#);
            json.point(*at, *value);
        }
        Data::String(at, text) => {
            json.0.push_str(r#""string","result":["#);
            json.time(*at);
            json.0.push(',');
            json.text(text);
            json.0.push(']');
        }
        Data::Vector(samples) => {
            json.0.push_str(r#""vector","result":["#);
            is_cut = samples.len() > limit;
            json.list(samples.iter().take(limit), Json::sample)?;
            json.0.push(']');
        }
        Data::Matrix(series) => {
            json.0.push_str(r#""matrix","result":["#);
            is_cut = series.len() > limit;
            json.list(series.iter().take(limit), Json::series)?;
            json.0.push(']');
        }
    }
    json.0.push('}');
    let cut = is_cut.then_some(TRUNCATED);
    json.notes("warnings", output.warnings.iter().map(String::as_str).chain(cut));
    json.notes("infos", output.infos.iter().map(String::as_str));
    json.0.push('}');
    Ok(json.0)
}

/// The warning of an answer that was cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

struct Json(String);

impl Json {
    fn list<'a, T: 'a>(
        &mut self,
        items: impl Iterator<Item = &'a T>,
        write: impl Fn(&mut Self, &T),
    ) -> Result<(), ApiError> {
        for (i, item) in items.enumerate() {
            if i > 0 {
                self.0.push(',');
            }
            write(self, item);
            if self.0.len() > RESPONSE_LIMIT_BYTES {
                let error = format!("the result is larger than {RESPONSE_LIMIT_BYTES} bytes: ask for less of it");
                return Err(ApiError::Execution(error));
            }
        }
        Ok(())
    }

    fn notes<'a>(&mut self, name: &str, notes: impl Iterator<Item = &'a str>) {
        for (i, note) in notes.enumerate() {
            if i == 0 {
                let _ = write!(self.0, r#","{name}":["#);
            } else {
                self.0.push(',');
            }
            self.text(note);
        }
        if self.0.ends_with('"') {
            self.0.push(']');
        }
    }

    fn sample(&mut self, sample: &VectorSample) {
        self.metric(&sample.labels);
        match &sample.value {
            Value::Float(value) => {
                self.0.push_str(r#","value":"#);
                self.point(sample.at, *value);
            }
            Value::Histogram(histogram) => {
                self.0.push_str(r#","histogram":"#);
                self.histogram_point(sample.at, histogram);
            }
        }
        self.0.push('}');
    }

    fn series(&mut self, series: &Series) {
        self.metric(&series.labels);
        for (i, (at, value)) in series.floats.iter().enumerate() {
            self.0.push_str(if i == 0 { r#","values":["# } else { "," });
            self.point(*at, *value);
        }
        self.0.push_str(if series.floats.is_empty() { "" } else { "]" });
        for (i, (at, histogram)) in series.histograms.iter().enumerate() {
            self.0.push_str(if i == 0 { r#","histograms":["# } else { "," });
            self.histogram_point(*at, histogram);
        }
        self.0.push_str(if series.histograms.is_empty() { "}" } else { "]}" });
    }

    fn metric(&mut self, labels: &Labels) {
        self.0.push_str(r#"{"metric":{"#);
        for (i, (name, value)) in labels.iter().enumerate() {
            if i > 0 {
                self.0.push(',');
            }
            self.text(name);
            self.0.push(':');
            self.text(value);
        }
        self.0.push('}');
    }

    fn point(&mut self, at: Timestamp, value: f64) {
        self.0.push('[');
        self.time(at);
        self.0.push(',');
        self.number(value);
        self.0.push(']');
    }

    fn histogram_point(&mut self, at: Timestamp, histogram: &FloatHistogram) {
        self.0.push('[');
        self.time(at);
        self.0.push_str(r#",{"count":"#);
        self.number(histogram.count);
        self.0.push_str(r#","sum":"#);
        self.number(histogram.sum);
        let mut is_first = true;
        for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
            self.0.push_str(if is_first { r#","buckets":["# } else { "," });
            is_first = false;
            self.bucket(&bucket);
        }
        self.0.push_str(if is_first { "}]" } else { "]}]" });
    }

    fn bucket(&mut self, bucket: &BucketRange) {
        // Which bounds belong to it: the upper, the lower, neither, both.
        let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };
        let _ = write!(self.0, "[{rule}");
        for number in [bucket.lower, bucket.upper, bucket.count] {
            self.0.push(',');
            self.number(number);
        }
        self.0.push(']');
    }

    /// Seconds, with three digits after the point where it is no whole number.
    fn time(&mut self, at: Timestamp) {
        let (sign, millis) = if at.0 < 0 { ("-", at.0.unsigned_abs()) } else { ("", at.0.unsigned_abs()) };
        let _ = match millis % 1_000 {
            0 => write!(self.0, "{sign}{}", millis / 1_000),
            rest => write!(self.0, "{sign}{}.{rest:03}", millis / 1_000),
        };
    }

    /// A number in quotes, since JSON has neither NaN nor infinities.
    fn number(&mut self, value: f64) {
        self.0.push('"');
        let magnitude = value.abs();
        if value == 0.0 || (1e-6..1e21).contains(&magnitude) {
            let _ = write!(self.0, "{value}");
        } else {
            self.0.push_str(&format_value(value));
        }
        self.0.push('"');
    }

    fn text(&mut self, text: &str) {
        self.0.push('"');
        let mut written = 0;
        for (at, byte) in text.bytes().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.0.push_str(&text[written..at]);
            let _ = match byte {
                b'"' | b'\\' => write!(self.0, "\\{}", byte as char),
                b'\n' => self.0.write_str("\\n"),
                b'\r' => self.0.write_str("\\r"),
                b'\t' => self.0.write_str("\\t"),
                _ => write!(self.0, "\\u{byte:04x}"),
            };
            written = at + 1;
        }
        self.0.push_str(&text[written..]);
        self.0.push('"');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::promql::Bucket;

    fn output(data: Data) -> Output {
        Output { data, warnings: Vec::new(), infos: Vec::new() }
    }

    fn labels(job: &str) -> Arc<Labels> {
        Arc::new(Labels::new().with("__name__", "up").with("job", job))
    }

    /// The examples of Prometheus' documentation of its HTTP API.
    #[test]
    fn vectors_and_matrices_are_as_documented() {
        let at = Timestamp(1_435_781_451_781);
        let sample = |job, value| VectorSample { labels: labels(job), at, value: Value::Float(value) };
        let vector = output(Data::Vector(vec![sample("prometheus", 1.0), sample("node", 0.0)]));
        assert_eq!(
            answer(&vector, None).unwrap(),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"prometheus"},"value":[1435781451.781,"1"]},{"metric":{"__name__":"up","job":"node"},"value":[1435781451.781,"0"]}]}}"#
        );
        assert_eq!(
            answer(&vector, Some(1)).unwrap(),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"prometheus"},"value":[1435781451.781,"1"]}]},"warnings":["results truncated due to limit"]}"#
        );
        let floats = vec![(at, 1.0), (Timestamp(at.0 + 14_219), 1e-7)];
        let series = Series { labels: labels("x"), floats, histograms: Vec::new() };
        assert_eq!(
            answer(&output(Data::Matrix(vec![series])), None).unwrap(),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"x"},"values":[[1435781451.781,"1"],[1435781466,"1e-07"]]}]}}"#
        );
    }

    #[test]
    fn scalars_strings_and_notes() {
        let mut scalar = output(Data::Scalar(Timestamp(-1_005), f64::NAN));
        scalar.warnings = vec!["a \"b\"\n".to_owned(), "c".to_owned()];
        scalar.infos = vec!["d\u{1}\\".to_owned()];
        assert_eq!(
            answer(&scalar, None).unwrap(),
            r#"{"status":"success","data":{"resultType":"scalar","result":[-1.005,"NaN"]},"warnings":["a \"b\"\n","c"],"infos":["d\u0001\\"]}"#
        );
        let text = output(Data::String(Timestamp(1_000), "ü\t".into()));
        assert_eq!(
            answer(&text, None).unwrap(),
            r#"{"status":"success","data":{"resultType":"string","result":[1,"ü\t"]}}"#
        );
        assert_eq!(
            answer(&output(Data::Vector(Vec::new())), None).unwrap(),
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#
        );
    }

    #[test]
    fn histograms_list_their_buckets() {
        let histogram = FloatHistogram {
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 5.0,
            sum: 18.4,
            positive: vec![Bucket { index: 0, count: 0.0 }, Bucket { index: 1, count: 1.0 }],
            negative: vec![Bucket { index: 0, count: 2.0 }],
            ..FloatHistogram::default()
        };
        let value = Value::Histogram(Arc::new(histogram));
        let sample = VectorSample { labels: labels("x"), at: Timestamp(0), value };
        assert_eq!(
            answer(&output(Data::Vector(vec![sample])), None).unwrap(),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"x"},"histogram":[0,{"count":"5","sum":"18.4","buckets":[[1,"-1","-0.5","2"],[3,"-0.001","0.001","2"],[0,"1","2","1"]]}]}]}}"#
        );
    }
}
