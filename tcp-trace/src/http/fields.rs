//! The header fields of a message: the bytes of its head, and where in them each name and value is. So a name or value costs
//! neither memory of its own nor a reference count.

use std::{fmt, ops::Range};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::{Text, TextRef};

/// Header fields in wire order and wire case (RFC 9110, section 5): pairs of name and value.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "Vec<(Text, Text)>"))]
pub struct Fields {
    bytes: Bytes,
    places: Vec<Place>,
}

/// Where a field is in the bytes.
#[derive(Clone)]
struct Place {
    name: Range<u32>,
    value: Range<u32>,
}

impl Fields {
    /// None.
    pub const fn new() -> Self {
        Self { bytes: Bytes::new(), places: Vec::new() }
    }

    /// Those whose names and values are parts of `head`.
    pub(super) fn of_head<'a>(head: &'a Bytes, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let place = |(name, value)| Place { name: place_of(head, name), value: place_of(head, value) };
        Self { bytes: head.clone(), places: fields.map(place).collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(|Place { name, value }| (self.part(name), self.part(value)))
    }

    /// The values of the fields of this name, in whatever case.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The members of a field that is a list (RFC 9110, section 5.6.1).
    pub fn members<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// The value of the first field of this name, in whatever case.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The same, sharing the bytes of the head.
    pub fn first_shared(&self, name: &str) -> Option<Bytes> {
        self.first(name).map(|value| self.bytes.slice_ref(value))
    }

    /// Those with one of these names, without the rest of their head.
    pub fn only(&self, names: &[&str]) -> Self {
        self.iter().filter(|(name, _)| is_one_of(name, names)).collect()
    }

    /// The same fields, where those with one of these names have this value.
    pub fn redacted(self, names: &[&str], value: &str) -> Self {
        if !self.iter().any(|(name, _)| is_one_of(name, names)) {
            return self;
        }
        let of = |(name, own)| (name, if is_one_of(name, names) { value.as_bytes() } else { own });
        self.iter().map(of).collect()
    }

    /// Adds one.
    #[cfg(test)]
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        *self = self.iter().chain([(name.as_bytes(), value.as_bytes())]).collect();
    }

    fn part(&self, place: &Range<u32>) -> &[u8] {
        // Places are inside by construction.
        self.bytes.get(place.start as usize..place.end as usize).unwrap_or_default()
    }
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
}

/// Where `part` is in the bytes that it is a part of.
fn place_of(whole: &[u8], part: &[u8]) -> Range<u32> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr()) as u32;
    start..start.wrapping_add(part.len() as u32)
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(fields: T) -> Self {
        let mut bytes = Vec::new();
        let mut add = |part: &[u8]| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(part);
            start..bytes.len() as u32
        };
        let place = |(name, value): (N, V)| Place { name: add(name.as_ref()), value: add(value.as_ref()) };
        let places = fields.into_iter().map(place).collect();
        Self { bytes: bytes.into(), places }
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, value)| (TextRef(name), TextRef(value)))).finish()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|(name, value)| (TextRef(name), TextRef(value))))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Vec::<(Text, Text)>::deserialize(deserializer)?;
        Ok(fields.into_iter().map(|(name, value)| (name.0, value.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, &str)]) -> Fields {
        fields.iter().copied().collect()
    }

    #[test]
    fn fields_of_a_head_are_its_parts() {
        let head = Bytes::from_static(b"Host: a\r\nX-Empty:\r\nhost: b\r\n\r\n");
        let parts =
            [(&head[..4], &head[6..7]), (&head[9..16], &head[17..17]), (&head[19..23], &head[25..26])];
        let fields = Fields::of_head(&head, parts.into_iter());
        assert_eq!(fields, self::fields(&[("Host", "a"), ("X-Empty", ""), ("host", "b")]));
        assert_eq!(fields.first("HOST"), Some(&b"a"[..]));
        assert_eq!(fields.first("x-empty"), Some(&b""[..]));
        assert_eq!(fields.first("X-Empt"), None);
        assert_eq!(fields.values("host").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(fields.first_shared("host").unwrap().as_ptr(), head[6..].as_ptr());
    }

    #[test]
    fn members_of_all_fields_of_a_name_are_one_list() {
        let fields = fields(&[("Via", "a, ,b"), ("Other", "x"), ("VIA", "c ,")]);
        assert_eq!(fields.members("via").collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    }

    #[test]
    fn some_are_kept_without_their_head() {
        let head = Bytes::from(vec![b'x'; 100]);
        let all = Fields::of_head(
            &head,
            [(&head[..10], &head[10..20]), (&head[20..21], &head[30..31])].into_iter(),
        );
        let kept = all.only(&["X"]);
        drop(all);
        assert!(head.is_unique());
        assert_eq!(kept, fields(&[("x", "x")]));
    }

    #[test]
    fn values_are_redacted_by_name() {
        let headers = fields(&[("AUTHORIZATION", "Bearer x"), ("Accept", "*/*"), ("cookie", "session=1")]);
        let expected = fields(&[("AUTHORIZATION", "-"), ("Accept", "*/*"), ("cookie", "-")]);
        assert_eq!(headers.redacted(&["authorization", "cookie"], "-"), expected);
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        let written: Fields = [(&b"A"[..], &b"\xff"[..]), (b"B", b"\"")].into_iter().collect();
        let json = crate::json::to_string(&written).unwrap();
        assert_eq!(json, r#"[["A",{"bytes":"/w=="}],["B","\""]]"#);
        assert_eq!(serde_json::from_str::<Fields>(&json).unwrap(), written);
    }
}
