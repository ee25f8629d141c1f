//! What one request may cost.

/// Limits on one request and on one series. Every count and length is checked before it costs memory.
///
/// With the defaults a decoded request holds at most 128 MiB of bytes (up to four times that if its label fields
/// are scattered, which no real sender does), 256 MiB of samples with their start timestamps, 96 MiB of series, 16 MiB
/// of histograms and 32 MiB of symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body as received.
    pub compressed_limit_bytes: usize,
    /// Bytes of a body once decompressed, as its snappy header declares them.
    pub decoded_limit_bytes: usize,
    /// Series in one request, with or without samples.
    pub series_limit: usize,
    /// Samples in one request. The default lets samples take no more memory than the bytes they came in.
    pub samples_limit: usize,
    /// Native histograms in one request.
    pub histograms_limit: usize,
    /// Symbols in one request of remote write 2.0.
    pub symbols_limit: usize,
    /// Bytes of one native histogram.
    pub histogram_limit_bytes: usize,
    /// Buckets of one native histogram, both signs together, and bounds of one with custom buckets.
    pub buckets_per_histogram_limit: usize,
    /// Labels of one series, `__name__` included.
    pub labels_per_series_limit: usize,
    /// Bytes of one label's name.
    pub label_name_limit_bytes: usize,
    /// Bytes of one label's value.
    pub label_value_limit_bytes: usize,
}

const MIB: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            compressed_limit_bytes: 32 * MIB,
            decoded_limit_bytes: 128 * MIB,
            series_limit: 1 << 20,
            samples_limit: 8 << 20,
            histograms_limit: 1 << 20,
            symbols_limit: 1 << 20,
            histogram_limit_bytes: 32 << 10,
            buckets_per_histogram_limit: 4_096,
            labels_per_series_limit: 40,
            label_name_limit_bytes: 1_024,
            label_value_limit_bytes: 2_048,
        }
    }
}
