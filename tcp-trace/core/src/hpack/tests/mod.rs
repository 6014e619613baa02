//! What blocks decode to: examples, stories of other encoders, and blocks that are made up.

mod appendix;
mod property;
mod stories;

use super::{Decoder, Fault};

/// A field, as far as it is known.
type Known = (Option<Vec<u8>>, Option<Vec<u8>>);

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Known>, Fault> {
    let mut fields = Vec::new();
    decoder
        .decode(block, |field| {
            fields.push((field.name.map(<[u8]>::to_vec), field.value.map(<[u8]>::to_vec)));
        })
        .map(|()| fields)
}

fn known(name: &[u8], value: &[u8]) -> Known {
    (Some(name.to_vec()), Some(value.to_vec()))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn illegal_blocks_say_why() {
    for (hex, fault) in [
        ("80", Fault::Index),
        ("be", Fault::Index),
        ("7e 00", Fault::Index),
        ("ff ff ff ff ff 7f", Fault::Number),
        ("40", Fault::Truncated),
        ("40 01 61", Fault::Truncated),
        ("40 7f", Fault::Truncated),
        ("40 05 61", Fault::Truncated),
        ("40 81 ff 00", Fault::Huffman),
        ("3f e2 1f", Fault::TableSize),
        ("82 20", Fault::LateTableSize),
        ("3f", Fault::Truncated),
    ] {
        assert_eq!(decoded(&mut Decoder::new(), &bytes(hex)), Err(fault), "{hex}");
    }
}

#[test]
fn a_size_is_legal_up_to_what_was_allowed_and_any_when_that_is_not_known() {
    let update = bytes("3f e1 3f");
    assert_eq!(decoded(&mut Decoder::new(), &update), Err(Fault::TableSize));
    let mut decoder = Decoder::new();
    decoder.allow(8192);
    assert_eq!(decoded(&mut decoder, &update), Ok(vec![]));
    assert_eq!(decoded(&mut Decoder::late(), &update), Ok(vec![]));
    // Several at a time, as section 4.2 has them.
    assert_eq!(decoded(&mut Decoder::new(), &bytes("20 3f e1 1f 82")), Ok(vec![known(b":method", b"GET")]));
}

#[test]
fn what_is_unknown_keeps_its_place() {
    let mut late = Decoder::late();
    // An entry from before, a literal with a name from there, which is inserted, that entry again, and one of its own.
    let block = bytes("be 7e 01 31 be 40 01 61 01 62 be bf c0");
    let expected = [
        (None, None),
        (None, Some(b"1".to_vec())),
        (None, Some(b"1".to_vec())),
        known(b"a", b"b"),
        known(b"a", b"b"),
        (None, Some(b"1".to_vec())),
        (None, None),
    ];
    assert_eq!(decoded(&mut late, &block).as_deref(), Ok(&expected[..]));
    assert!(!late.is_exact());
    late.lose();
    assert_eq!(decoded(&mut late, &bytes("be")).as_deref(), Ok(&[(None, None)][..]));
    // Behind a size of 0 nothing is unknown.
    assert_eq!(decoded(&mut late, &bytes("20 3f e1 1f 82")), Ok(vec![known(b":method", b"GET")]));
    assert!(late.is_exact());
    assert_eq!(decoded(&mut late, &bytes("be")), Err(Fault::Index));
}
