//! Arrays and objects.

use serde::{Serialize, ser};

use super::writer::{Error, Result, Writer};

/// An array or object that has begun.
pub(super) struct Compound<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) is_first: bool,
    /// What ends it.
    pub(super) close: &'static [u8],
}

impl Compound<'_> {
    #[inline(always)]
    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.separate();
        value.serialize(Writer { out: self.out })
    }

    /// A field whose name is a name of the program, and so needs no escape. Inlined, so that its length is known.
    #[inline(always)]
    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        self.out.reserve(key.len() + 4);
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        value.serialize(Writer { out: self.out })
    }

    fn close(self) -> Result<()> {
        self.out.extend_from_slice(self.close);
        Ok(())
    }
}

/// Implements a trait of `serde::ser` that has one method for its elements besides `end`.
macro_rules! compound {
    ($name:ident, $method:ident($($key:ident: $kind:ty)?) => $to:ident) => {
        impl ser::$name for Compound<'_> {
            type Ok = ();
            type Error = Error;

            #[inline(always)]
            fn $method<T: Serialize + ?Sized>(&mut self, $($key: $kind,)? value: &T) -> Result<()> {
                self.$to($($key,)? value)
            }

            fn end(self) -> Result<()> {
                self.close()
            }
        }
    };
}

compound!(SerializeSeq, serialize_element() => element);
compound!(SerializeTuple, serialize_element() => element);
compound!(SerializeTupleStruct, serialize_field() => element);
compound!(SerializeTupleVariant, serialize_field() => element);
compound!(SerializeStruct, serialize_field(key: &'static str) => field);
compound!(SerializeStructVariant, serialize_field(key: &'static str) => field);

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Error;

    /// # Errors
    /// When the key is not a string.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.separate();
        let begin = self.out.len();
        key.serialize(Writer { out: self.out })?;
        if self.out.get(begin) == Some(&b'"') {
            Ok(())
        } else {
            Err(ser::Error::custom("the key of an object is no string"))
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.out.push(b':');
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}
