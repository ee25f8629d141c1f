//! Any bytes as a segment: what is read as a record was written as one, every byte is either a record or damage, and
//! the end is reached.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sloburn::journal::format::{Item, RECORD_HEADER_BYTES, Records, SEGMENT_HEADER_BYTES, SegmentHeader};
use sloburn::journal::{Kind, Record, body_sum, format::record_header};
use sloburn::types::Timestamp;
use sloburn::wire::Protocol;

// Two whole records around the input, so that there is something to find.
fuzz_target!(|bytes: &[u8]| {
    let _ = SegmentHeader::decode(bytes);
    let header = SegmentHeader { first_sequence: 0, begun_at: Timestamp(0), salt: 7 };
    let mut segment = header.encode().to_vec();
    let record = |sequence, body| Record { sequence, kind: Kind::Write(Protocol::V1), arrived_at: Timestamp(1), body };
    segment.extend(record_header(7, &record(0, b"before"), body_sum(b"before")));
    segment.extend(b"before");
    segment.extend(bytes);
    segment.extend(record_header(7, &record(1, b"after"), body_sum(b"after")));
    segment.extend(b"after");
    let mut records = Records::new(&segment, &header);
    let mut covered = SEGMENT_HEADER_BYTES;
    let mut bodies = Vec::new();
    while let Ok(Some(item)) = records.next_item() {
        let end = records.offset();
        match item {
            Item::Record(record) => {
                assert_eq!(end - covered, RECORD_HEADER_BYTES + record.body.len());
                bodies.push(record.body);
            }
            Item::Damage(damage) => assert_eq!((damage.offset, damage.bytes), (covered, end - covered)),
        }
        assert!(end > covered, "no progress");
        covered = end;
    }
    assert_eq!(bodies[0], b"before");
});
