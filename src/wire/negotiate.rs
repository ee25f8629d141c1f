//! Which protocol a request speaks, by its headers alone.

/// A version of remote write, by the message in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

impl Protocol {
    /// The message's full name, as the `proto` parameter has it.
    pub const fn message(self) -> &'static str {
        match self {
            Self::V1 => "prometheus.WriteRequest",
            Self::V2 => "io.prometheus.write.v2.Request",
        }
    }
}

/// Why a request's headers are refused; each is a 415.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// Another media type.
    #[error("content type {0:?} is not accepted; send application/x-protobuf")]
    MediaType(String),
    /// A parameter of the media type that is not `name=value`.
    #[error("content type parameter {0:?} is not name=value")]
    Parameter(String),
    /// A `proto` parameter that names no message of remote write.
    #[error("unknown message {0:?}; send prometheus.WriteRequest or io.prometheus.write.v2.Request")]
    Message(String),
    /// Another compression.
    #[error("content encoding {0:?} is not accepted; send snappy")]
    Encoding(String),
}

impl NegotiationError {
    /// One stable word, the value of a metric's `reason` label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::MediaType(_) | Self::Parameter(_) => "content_type",
            Self::Message(_) => "proto_message",
            Self::Encoding(_) => "content_encoding",
        }
    }
}

const MEDIA_TYPE: &str = "application/x-protobuf";
const ENCODING: &str = "snappy";

/// The protocol of a request with these headers; check it before the body is read.
///
/// As Prometheus' receiver (`ServeHTTP` and `parseProtoMsg` in `storage/remote/write_handler.go`): an absent or
/// empty `Content-Type` means remote write 1.0 and an absent or empty `Content-Encoding` means snappy, for
/// the sake of old senders; the first `proto` parameter counts. Unlike there, white space around a parameter
/// (RFC 9110, 5.6.6) does not hide it, which would take a 2.0 body for 1.0.
///
/// # Errors
/// On another media type, an unknown message or another encoding, to be answered with 415.
pub fn negotiate(content_type: Option<&str>, content_encoding: Option<&str>) -> Result<Protocol, NegotiationError> {
    let protocol = match content_type.map_or("", str::trim) {
        "" => Protocol::V1,
        content_type => protocol_of(content_type)?,
    };
    match content_encoding.map_or("", str::trim) {
        "" => Ok(protocol),
        encoding if encoding.eq_ignore_ascii_case(ENCODING) => Ok(protocol),
        encoding => Err(NegotiationError::Encoding(encoding.to_owned())),
    }
}

fn protocol_of(content_type: &str) -> Result<Protocol, NegotiationError> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case(MEDIA_TYPE)) {
        return Err(NegotiationError::MediaType(content_type.to_owned()));
    }
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=').filter(|(_, value)| !value.contains('=')) else {
            return Err(NegotiationError::Parameter(parameter.to_owned()));
        };
        if name.eq_ignore_ascii_case("proto") {
            let known = [Protocol::V1, Protocol::V2].into_iter().find(|protocol| protocol.message() == value);
            return known.ok_or_else(|| NegotiationError::Message(value.to_owned()));
        }
    }
    Ok(Protocol::V1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_of_both_versions_are_recognised() {
        for (content_type, protocol) in [
            (None, Protocol::V1),
            (Some(""), Protocol::V1),
            (Some("application/x-protobuf"), Protocol::V1),
            (Some(" application/x-protobuf "), Protocol::V1),
            (Some("Application/X-Protobuf"), Protocol::V1),
            (Some("application/x-protobuf;proto=prometheus.WriteRequest"), Protocol::V1),
            (Some("application/x-protobuf;charset=utf-8"), Protocol::V1),
            (Some("application/x-protobuf;proto=io.prometheus.write.v2.Request"), Protocol::V2),
            (Some("application/x-protobuf; proto=io.prometheus.write.v2.Request"), Protocol::V2),
            (Some("application/x-protobuf;v=1;proto=io.prometheus.write.v2.Request;proto=x"), Protocol::V2),
        ] {
            for encoding in [None, Some(""), Some("snappy"), Some("Snappy")] {
                assert_eq!(negotiate(content_type, encoding), Ok(protocol), "{content_type:?} {encoding:?}");
            }
        }
    }

    #[test]
    fn the_rest_is_refused_with_its_reason() {
        for (content_type, encoding, reason) in [
            (Some("application/json"), Some("snappy"), "content_type"),
            (Some("application/x-protobuffer"), Some("snappy"), "content_type"),
            (Some(";proto=prometheus.WriteRequest"), Some("snappy"), "content_type"),
            (Some("application/x-protobuf;"), Some("snappy"), "content_type"),
            (Some("application/x-protobuf;proto"), Some("snappy"), "content_type"),
            (Some("application/x-protobuf;proto=a=b"), Some("snappy"), "content_type"),
            (Some("application/x-protobuf;proto="), Some("snappy"), "proto_message"),
            (Some("application/x-protobuf;proto=prometheus.writerequest"), Some("snappy"), "proto_message"),
            (Some("application/x-protobuf;proto=prometheus.ReadRequest"), Some("snappy"), "proto_message"),
            (Some("application/x-protobuf"), Some("gzip"), "content_encoding"),
            (Some("application/x-protobuf"), Some("snappy, snappy"), "content_encoding"),
            (None, Some("identity"), "content_encoding"),
        ] {
            let error = negotiate(content_type, encoding).unwrap_err();
            assert_eq!(error.reason(), reason, "{content_type:?} {encoding:?}");
        }
    }
}
