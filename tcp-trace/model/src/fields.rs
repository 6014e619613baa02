//! The header fields of a message: where each name and value is, and the bytes of its head, all in one piece of memory. So a
//! name or value costs neither memory of its own nor a reference count.

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    blocks, json,
    text::{Piece, TextRef},
};

/// Header fields in wire order and wire case (RFC 9110, section 5): pairs of name and value.
#[derive(Clone, Default)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(with = "Vec<(crate::text::Text, crate::text::Text)>")
)]
pub struct Fields {
    /// A [`Place`] for each name and for each value, and then what they are places in.
    bytes: Bytes,
    /// The [`mark`]s of all names: most names that are looked for are not there, which this says at once.
    marks: u64,
    count: u32,
    /// Whether these are parts of the lines of a head, and have no ends of lines in them.
    is_head: bool,
}

/// Where a name or a value is: its first byte and its length.
type Place = (u32, u32);

/// Bytes of the places of a field.
const PLACES: usize = 2 * size_of::<Place>();

impl Fields {
    /// None.
    pub const fn new() -> Self {
        Self { bytes: Bytes::new(), marks: 0, count: 0, is_head: false }
    }

    /// Those whose names and values are parts of lines of `head`.
    pub fn of_head<'a>(head: &'a [u8], fields: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let count = fields.len();
        let mut marks = 0;
        let bytes = blocks::part(count * PLACES + head.len(), |block| {
            for (name, value) in fields {
                marks |= mark(name);
                put(block, place_of(head, name), place_of(head, value));
            }
            block.extend_from_slice(head);
        });
        Self { bytes, marks, count: count as u32, is_head: true }
    }

    /// A part of the head that these are of, sharing their memory.
    pub fn share(&self, head: &[u8], part: &[u8]) -> Bytes {
        let (start, length) = place_of(head, part);
        let start = self.places_len() + start as usize;
        self.bytes.slice(start..start + length as usize)
    }

    /// These, wherever they are from.
    fn collected<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Self {
        let parts = fields.clone().flat_map(|(name, value)| [name, value]);
        let count = fields.clone().count();
        let length: usize = parts.clone().map(<[u8]>::len).sum();
        let marks = fields.clone().fold(0, |marks, (name, _)| marks | mark(name));
        let bytes = blocks::part(count * PLACES + length, |block| {
            let mut start = 0;
            for (name, value) in fields {
                let name = (start, name.len() as u32);
                let value = (start + name.1, value.len() as u32);
                put(block, name, value);
                start = value.0 + value.1;
            }
            parts.for_each(|part| block.extend_from_slice(part));
        });
        Self { bytes, marks, count: count as u32, is_head: false }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        let (places, text) = self.places();
        places.iter().map(move |place| {
            let (name, value) = of_bytes(place);
            (part(text, name), part(text, value))
        })
    }

    /// Bytes of all places.
    fn places_len(&self) -> usize {
        self.count as usize * PLACES
    }

    /// Where names and values are, and what they are places in.
    fn places(&self) -> (&[[u8; PLACES]], &[u8]) {
        // The places are there by construction.
        let (places, text) = self.bytes.split_at_checked(self.places_len()).unwrap_or_default();
        (places.as_chunks().0, text)
    }

    /// Whether no name or value needs an escape in JSON; seen at once for all of them.
    pub(crate) fn are_plain(&self) -> bool {
        let (_, text) = self.places();
        if self.is_head { json::is_plain_head(text) } else { json::is_plain(text) }
    }

    /// The values of the fields of this name, in whatever case.
    #[inline]
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let is_possible = self.marks & mark(name.as_bytes()) != 0;
        let (places, text) = if is_possible { self.places() } else { Default::default() };
        // Most names are of another length.
        places.iter().map(of_bytes).filter_map(move |(field, value)| {
            let is_it =
                field.1 as usize == name.len() && part(text, field).eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| part(text, value))
        })
    }

    /// The members of a field that is a list (RFC 9110, section 5.6.1).
    pub fn members<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// The value of the first field of this name, in whatever case.
    #[inline(always)]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        if self.marks & mark(name.as_bytes()) == 0 { None } else { self.find(name) }
    }

    #[inline(never)]
    fn find(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The same, sharing the bytes of the head.
    pub fn first_shared(&self, name: &str) -> Option<Bytes> {
        self.first(name).map(|value| self.bytes.slice_ref(value))
    }

    /// Those with one of these names, without the rest of their head.
    pub fn only(&self, names: &[&str]) -> Self {
        let mut only = Self::collected(self.iter().filter(|(name, _)| is_one_of(name, names)));
        // These are kept: not in a block, which would be kept with them.
        only.bytes = Bytes::copy_from_slice(&only.bytes);
        only
    }

    /// Gives those with one of these names this value.
    #[inline(always)]
    pub fn redact<N: AsRef<[u8]>>(&mut self, names: &[N], value: &str) {
        let marks = names.iter().fold(0, |marks, name| marks | mark(name.as_ref()));
        if self.marks & marks != 0 {
            self.redact_if_named(names, value);
        }
    }

    fn redact_if_named<N: AsRef<[u8]>>(&mut self, names: &[N], value: &str) {
        if !self.iter().any(|(name, _)| is_one_of(name, names)) {
            return;
        }
        let of = |(name, own)| (name, if is_one_of(name, names) { value.as_bytes() } else { own });
        // Names are compared once: what is collected is gone through several times.
        let fields: Vec<_> = self.iter().map(of).collect();
        *self = Self::collected(fields.iter().copied());
    }

    /// Adds one.
    pub fn push(&mut self, name: &str, value: &str) {
        *self = Self::collected(self.iter().chain([(name.as_bytes(), value.as_bytes())]));
    }
}

/// One of 64 bits, by a name's length and first letter: names that are equal in whatever case have the same.
#[inline(always)]
const fn mark(name: &[u8]) -> u64 {
    let first = match name {
        [first, ..] => *first | 0x20,
        [] => 0,
    };
    1 << ((first as usize + name.len()) % 64)
}

fn put(block: &mut BytesMut, name: Place, value: Place) {
    let mut places = [0; PLACES];
    for (place, number) in places.as_chunks_mut::<4>().0.iter_mut().zip([name.0, name.1, value.0, value.1]) {
        *place = number.to_ne_bytes();
    }
    block.extend_from_slice(&places);
}

/// The places of a field's name and value.
fn of_bytes(bytes: &[u8; PLACES]) -> (Place, Place) {
    let number = |at: usize| {
        // Both places are in the array.
        u32::from_ne_bytes(bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default())
    };
    ((number(0), number(4)), (number(8), number(12)))
}

/// What is at a place of `text`.
fn part(text: &[u8], (start, length): Place) -> &[u8] {
    let start = start as usize;
    // Places are inside by construction.
    text.get(start..start + length as usize).unwrap_or_default()
}

fn is_one_of<N: AsRef<[u8]>>(name: &[u8], names: &[N]) -> bool {
    names.iter().any(|one| name.eq_ignore_ascii_case(one.as_ref()))
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
        let fields = Vec::<(Piece<'_>, Piece<'_>)>::deserialize(deserializer)?;
        Ok(Self::collected(fields.iter().map(|(name, value)| (&*name.0, &*value.0))))
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
    fn names_with_the_same_mark_are_told_apart() {
        // Their lengths and first letters add up to the same.
        let fields = fields(&[("Upgrade", "a"), ("transfer", "b"), ("", "c"), ("[x", "d")]);
        for (name, expected) in [
            ("upgrade", Some("a")),
            ("TRANSFER", Some("b")),
            ("", Some("c")),
            ("[X", Some("d")),
            ("{x", None),
            ("trailers", None),
        ] {
            assert_eq!(fields.first(name), expected.map(str::as_bytes), "{name}");
        }
        let mut redacted = fields.clone();
        redacted.redact(&["trailers"], "-");
        assert_eq!(redacted, fields);
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
        let mut redacted = headers;
        redacted.redact(&["authorization", "cookie"], "-");
        assert_eq!(redacted, expected);
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        let written: Fields = [(&b"A"[..], &b"\xff"[..]), (b"B", b"\"")].into_iter().collect();
        let json = json::to_string(&written).unwrap();
        assert_eq!(json, r#"[["A",{"bytes":"/w=="}],["B","\""]]"#);
        assert_eq!(serde_json::from_str::<Fields>(&json).unwrap(), written);
    }
}
