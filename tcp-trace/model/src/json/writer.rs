//! The writer itself: scalars, and what begins a compound.

use std::{fmt, io::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Serialize, Serializer,
    ser::{self, SerializeStruct as _},
};

use super::{compound::Compound, string};

/// What cannot be JSON; nothing that is recorded is of that kind.
pub(super) type Error = serde_json::Error;
pub(super) type Result<T> = std::result::Result<T, Error>;

/// Appends `value` to `out`.
///
/// # Errors
/// When it cannot be JSON; then a part of it may have been appended.
pub fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<()> {
    value.serialize(Writer { out })
}

/// `value` as text.
///
/// # Errors
/// When it cannot be JSON.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let mut out = Vec::new();
    write(&mut out, value)?;
    String::from_utf8(out).map_err(ser::Error::custom)
}

/// Appends one value.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// What is rare is left to serde_json.
    fn rare<T: Serialize>(self, value: &T) -> Result<()> {
        serde_json::to_writer(self.out, value)
    }

    fn compound(self, open: &str, close: &'static [u8]) -> Compound<'a> {
        self.out.extend_from_slice(open.as_bytes());
        Compound { out: self.out, is_first: true, close }
    }

    /// What begins a compound that is the value of the only field of an object, named `variant`.
    fn named(self, variant: &str) -> Self {
        self.out.push(b'{');
        string::push(self.out, variant);
        self.out.push(b':');
        self
    }
}

/// The methods for integers, which differ in their type only.
macro_rules! integers {
    ($($method:ident: $integer:ty),*) => {
        $(fn $method(self, value: $integer) -> Result<()> {
            self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            Ok(())
        })*
    };
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    integers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.rare(&value)
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        self.rare(&value)
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        string::push(self.out, value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        if string::push_ascii(self.out, value) {
            return Ok(());
        }
        match str::from_utf8(value) {
            Ok(text) => self.serialize_str(text),
            Err(_) => {
                let mut object = self.serialize_struct("", 1)?;
                object.serialize_field("bytes", &STANDARD.encode(value))?;
                object.end()
            }
        }
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<()> {
        let begin = self.out.len();
        self.out.push(b'"');
        write!(self.out, "{value}").map_err(ser::Error::custom)?;
        if string::is_plain(&self.out[begin + 1..]) {
            self.out.push(b'"');
            return Ok(());
        }
        let text = String::from_utf8(self.out.split_off(begin + 1)).map_err(ser::Error::custom)?;
        self.out.truncate(begin);
        self.serialize_str(&text)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        let Self { out } = self.named(variant);
        value.serialize(Writer { out })?;
        out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>> {
        Ok(self.compound("[", b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'a>> {
        Ok(self.compound("[", b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>> {
        Ok(self.compound("[", b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>> {
        Ok(self.named(variant).compound("[", b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>> {
        Ok(self.compound("{", b"}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>> {
        Ok(self.compound("{", b"}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>> {
        Ok(self.named(variant).compound("{", b"}}"))
    }
}
