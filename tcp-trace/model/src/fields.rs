//! The header fields of a message: where each name and value is, and the bytes of its head, all in one piece of memory. So a
//! name or value costs neither memory of its own nor a reference count.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    blocks,
    text::{Text, TextRef},
};

/// Header fields in wire order and wire case (RFC 9110, section 5): pairs of name and value.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "Vec<(Text, Text)>"))]
pub struct Fields {
    /// A [`Place`] for each name and for each value, and then what they are places in.
    bytes: Bytes,
    count: usize,
}

/// Where a name or a value is: its first byte and its length.
type Place = (u32, u32);

/// Bytes of the places of a field.
const PLACES: usize = 2 * size_of::<Place>();

impl Fields {
    /// None.
    pub const fn new() -> Self {
        Self { bytes: Bytes::new(), count: 0 }
    }

    /// Those whose names and values are parts of `head`.
    pub fn of_head<'a>(head: &'a [u8], fields: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let count = fields.len();
        let bytes = blocks::part(count * PLACES + head.len(), |block| {
            for (name, value) in fields {
                put(block, place_of(head, name));
                put(block, place_of(head, value));
            }
            block.extend_from_slice(head);
        });
        Self { bytes, count }
    }

    /// A part of the head that these are of, sharing their memory.
    pub fn share(&self, head: &[u8], part: &[u8]) -> Bytes {
        let (start, length) = place_of(head, part);
        let start = self.count * PLACES + start as usize;
        self.bytes.slice(start..start + length as usize)
    }

    /// These, wherever they are from.
    fn collected<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Self {
        let parts = fields.clone().flat_map(|(name, value)| [name, value]);
        let count = fields.count();
        let length: usize = parts.clone().map(<[u8]>::len).sum();
        let bytes = blocks::part(count * PLACES + length, |block| {
            let mut start = 0;
            for part in parts.clone() {
                put(block, (start, part.len() as u32));
                start += part.len() as u32;
            }
            parts.for_each(|part| block.extend_from_slice(part));
        });
        Self { bytes, count }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        // The places are there by construction.
        let (places, text) = self.bytes.split_at_checked(self.count * PLACES).unwrap_or_default();
        places.chunks_exact(PLACES).map(move |place| {
            let (name, value) = place.split_at(PLACES / 2);
            (part(text, name), part(text, value))
        })
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
        let Self { bytes, count } = Self::collected(self.iter().filter(|(name, _)| is_one_of(name, names)));
        // These are kept: not in a block, which would be kept with them.
        Self { bytes: Bytes::copy_from_slice(&bytes), count }
    }

    /// The same fields, where those with one of these names have this value.
    pub fn redacted(self, names: &[&str], value: &str) -> Self {
        if !self.iter().any(|(name, _)| is_one_of(name, names)) {
            return self;
        }
        let of = |(name, own)| (name, if is_one_of(name, names) { value.as_bytes() } else { own });
        Self::collected(self.iter().map(of))
    }

    /// Adds one.
    pub fn push(&mut self, name: &str, value: &str) {
        *self = Self::collected(self.iter().chain([(name.as_bytes(), value.as_bytes())]));
    }
}

fn put(block: &mut BytesMut, (start, length): Place) {
    block.put_u32_ne(start);
    block.put_u32_ne(length);
}

/// What is at a place of `text`.
fn part<'a>(text: &'a [u8], place: &[u8]) -> &'a [u8] {
    let Some((start, length)) = place.split_first_chunk() else { return &[] };
    let number = |bytes: [u8; 4]| u32::from_ne_bytes(bytes) as usize;
    let (start, length) = (number(*start), length.first_chunk().copied().map_or(0, number));
    // Places are inside by construction.
    text.get(start..start + length).unwrap_or_default()
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
}

/// Where `part` is in the bytes that it is a part of.
fn place_of(whole: &[u8], part: &[u8]) -> Place {
    if part.is_empty() {
        return (0, 0);
    }
    (part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr()) as u32, part.len() as u32)
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(fields: T) -> Self {
        let fields: Vec<_> = fields.into_iter().collect();
        Self::collected(fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref())))
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
        let head = b"Host: a\r\nX-Empty:\r\nhost: b\r\n\r\n";
        let parts =
            [(&head[..4], &head[6..7]), (&head[9..16], &head[17..17]), (&head[19..23], &head[25..26])];
        let fields = Fields::of_head(head, parts.into_iter());
        assert_eq!(fields, self::fields(&[("Host", "a"), ("X-Empty", ""), ("host", "b")]));
        assert_eq!(fields.first("HOST"), Some(&b"a"[..]));
        assert_eq!(fields.first("x-empty"), Some(&b""[..]));
        assert_eq!(fields.first("X-Empt"), None);
        assert_eq!(fields.values("host").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(fields.first_shared("host").unwrap().as_ptr(), fields.first("host").unwrap().as_ptr());
        assert_eq!(fields.share(head, &head[9..16]), "X-Empty");
        assert_eq!(fields.share(head, &head[17..17]), "");
    }

    #[test]
    fn members_of_all_fields_of_a_name_are_one_list() {
        let fields = fields(&[("Via", "a, ,b"), ("Other", "x"), ("VIA", "c ,")]);
        assert_eq!(fields.members("via").collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    }

    #[test]
    fn some_are_kept_without_their_head() {
        let head = vec![b'x'; 10_000];
        let all = Fields::of_head(
            &head,
            [(&head[..10], &head[10..20]), (&head[20..21], &head[30..31])].into_iter(),
        );
        let kept = all.only(&["X"]);
        assert_eq!(kept, fields(&[("x", "x")]));
        assert_eq!(kept.bytes.len(), PLACES + 2);
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
