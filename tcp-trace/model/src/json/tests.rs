//! What is written is what serde_json writes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{to_string, write};

#[derive(Serialize)]
enum Variant {
    Unit,
    Newtype(u8),
    Tuple(u8, i64),
    Struct { first: Option<bool>, second: () },
}

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Newtype(f64);

/// Written as it is displayed.
struct Shown(&'static str);

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(Serialize)]
struct Pair(char, &'static str);

#[derive(Serialize)]
#[serde(tag = "type")]
enum Tagged {
    Some { values: Vec<Variant> },
}

#[derive(Serialize)]
struct Everything {
    unit: Unit,
    newtype: Newtype,
    pair: Pair,
    small: (i8, i16, i32, u16, u32, u64, f32),
    map: BTreeMap<String, [u8; 2]>,
    empty: [BTreeMap<String, ()>; 1],
    shown: [Shown; 3],
    tagged: Tagged,
}

fn everything() -> Everything {
    Everything {
        unit: Unit,
        newtype: Newtype(1.5e300),
        pair: Pair('\u{1f41d}', "\"\n"),
        small: (i8::MIN, -1, 0, u16::MAX, 7, u64::MAX, 0.1),
        map: BTreeMap::from([("a\\".to_owned(), [1, 2]), (String::new(), [3, 4])]),
        empty: [BTreeMap::new()],
        shown: [Shown("c1"), Shown("\"quoted\""), Shown("größe")],
        tagged: Tagged::Some {
            values: vec![
                Variant::Unit,
                Variant::Newtype(1),
                Variant::Tuple(2, -3),
                Variant::Struct { first: None, second: () },
                Variant::Struct { first: Some(true), second: () },
            ],
        },
    }
}

#[test]
fn every_kind_of_value_is_written_as_serde_json_writes_it() {
    let mut out = b"before ".to_vec();
    write(&mut out, &everything()).unwrap();
    let expected = format!("before {}", serde_json::to_string(&everything()).unwrap());
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_key_that_is_no_string_is_refused() {
    let error = write(&mut Vec::new(), &BTreeMap::from([(1, 2)])).unwrap_err();
    assert_eq!(error.to_string(), "the key of an object is no string");
}

#[test]
fn bytes_are_a_string_or_base64() {
    struct Raw(&'static [u8]);
    impl Serialize for Raw {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
    for (bytes, expected) in [
        (&b""[..], r#""""#),
        (b"/a?x=1&y=22", r#""/a?x=1&y=22""#),
        (b"a\"b", r#""a\"b""#),
        ("gr\u{f6}\u{df}e".as_bytes(), "\"gr\u{f6}\u{df}e\""),
        (b"/\xff", r#"{"bytes":"L/8="}"#),
    ] {
        assert_eq!(to_string(&Raw(bytes)).unwrap(), expected);
    }
}
