//! Any bytes in place of blocks of header fields: late decoders agree, and so does loona-hpack where both take a block.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (mut other, mut rest) = (loona_hpack::Decoder::new(), bytes);
    for decoded in tcp_trace_core::hpack::fuzz::blocks(bytes) {
        let Some((length, following)) = rest.split_first() else { return };
        let (block, following) = following.split_at(usize::from(*length).min(following.len()));
        rest = following;
        // It refuses some blocks that RFC 7541 allows; its table is then another one.
        let (Ok(fields), Ok(expected)) = (decoded, other.decode(block)) else { return };
        let fields: Vec<_> = fields
            .into_iter()
            .map(|(name, value)| (name.expect("it began at the beginning"), value.expect("so it is known")))
            .collect();
        assert_eq!(fields, expected, "{block:x?}");
    }
});
