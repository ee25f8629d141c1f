//! What one request may cost.

/// Limits on one request and on one series. Every count and length is checked before it costs memory.
///
/// With the defaults a decoded request holds at most 128 MiB of bytes (up to four times that if its label fields
/// are scattered, which no real sender does), 128 MiB of samples and 48 MiB of series.
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
            labels_per_series_limit: 40,
            label_name_limit_bytes: 1_024,
            label_value_limit_bytes: 2_048,
        }
    }
}
