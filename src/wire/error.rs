//! Why a request, or one series of it, is refused.

use super::protobuf::ProtobufError;
use super::snappy::SnappyError;

/// Why a whole request is refused. Nothing of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body as received is over [`Limits::compressed_limit_bytes`](super::Limits).
    #[error("body of {size_bytes} bytes is over the limit of {limit_bytes}")]
    BodyTooLarge {
        /// What came.
        size_bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// The body does not decompress, or into too much.
    #[error(transparent)]
    Snappy(#[from] SnappyError),
    /// The decompressed bytes are not the message they should be.
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
    /// More series than [`Limits::series_limit`](super::Limits).
    #[error("more than {limit} series in one request")]
    TooManySeries {
        /// What is allowed.
        limit: usize,
    },
    /// More samples than [`Limits::samples_limit`](super::Limits).
    #[error("more than {limit} samples in one request")]
    TooManySamples {
        /// What is allowed.
        limit: usize,
    },
    /// More native histograms than [`Limits::histograms_limit`](super::Limits).
    #[error("more than {limit} native histograms in one request")]
    TooManyHistograms {
        /// What is allowed.
        limit: usize,
    },
    /// More symbols than [`Limits::symbols_limit`](super::Limits).
    #[error("more than {limit} symbols in one request")]
    TooManySymbols {
        /// What is allowed.
        limit: usize,
    },
    /// The first symbol is not the empty string.
    #[error("the first symbol must be the empty string")]
    FirstSymbol,
}

impl DecodeError {
    /// One stable word, the value of a metric's `reason` label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::Snappy(error) => error.reason(),
            Self::Protobuf(_) => "protobuf",
            Self::TooManySeries { .. } => "too_many_series",
            Self::TooManySamples { .. } => "too_many_samples",
            Self::TooManyHistograms { .. } => "too_many_histograms",
            Self::TooManySymbols { .. } => "too_many_symbols",
            Self::FirstSymbol => "first_symbol",
        }
    }
}

/// Why one series is refused. The rest of its request is not affected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// A label's message is not protobuf.
    #[error("malformed label: {0}")]
    Malformed(#[from] ProtobufError),
    /// A name without a value.
    #[error("odd number of label references")]
    OddReferences,
    /// A reference to a symbol that the request does not have.
    #[error("label reference {reference} is out of range: the request has {symbols} symbols")]
    ReferenceOutOfRange {
        /// What came.
        reference: u32,
        /// How many there are.
        symbols: usize,
    },
    /// A name or value is not UTF-8.
    #[error("label is not valid UTF-8")]
    NotUtf8,
    /// No `__name__`, or an empty one.
    #[error("missing metric name (label __name__)")]
    MissingMetricName,
    /// A label with an empty name.
    #[error("empty label name")]
    EmptyLabelName,
    /// The same label name twice.
    #[error("duplicate label name {0:?}")]
    DuplicateLabelName(String),
    /// More labels than [`Limits::labels_per_series_limit`](super::Limits).
    #[error("more than {limit} labels")]
    TooManyLabels {
        /// What is allowed.
        limit: usize,
    },
    /// A name over [`Limits::label_name_limit_bytes`](super::Limits).
    #[error("label name of {size_bytes} bytes is over the limit of {limit_bytes}")]
    LabelNameTooLong {
        /// What came.
        size_bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// A value over [`Limits::label_value_limit_bytes`](super::Limits).
    #[error("value of label {name:?} has {size_bytes} bytes, over the limit of {limit_bytes}")]
    LabelValueTooLong {
        /// The label's name.
        name: String,
        /// What came.
        size_bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
}

impl SeriesError {
    /// One stable word, the value of a metric's `reason` label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_label",
            Self::OddReferences | Self::ReferenceOutOfRange { .. } => "label_references",
            Self::NotUtf8 => "label_not_utf8",
            Self::MissingMetricName => "missing_metric_name",
            Self::EmptyLabelName => "empty_label_name",
            Self::DuplicateLabelName(_) => "duplicate_label_name",
            Self::TooManyLabels { .. } => "too_many_labels",
            Self::LabelNameTooLong { .. } => "label_name_too_long",
            Self::LabelValueTooLong { .. } => "label_value_too_long",
        }
    }
}
