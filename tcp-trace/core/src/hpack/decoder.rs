//! Header blocks (RFC 7541, sections 3 and 6).

use std::borrow::Cow;

use super::{
    huffman, integer,
    static_table::STATIC_TABLE,
    table::{Found, Parts, SIZE_AT_FIRST, Table},
};

/// Why a block is illegal. What follows on its direction cannot be decoded either: the tables of both ends differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ends inside a field.
    #[error("it ends inside a field")]
    Truncated,
    /// Section 5.1.
    #[error("a number that is too large")]
    Number,
    /// Section 5.2.
    #[error("a string with an illegal Huffman code")]
    Huffman,
    /// Section 2.3.3.
    #[error("an index without an entry")]
    Index,
    /// Section 6.3.
    #[error("a table size beyond its limit")]
    TableSize,
    /// Section 4.2.
    #[error("a table size behind the first field")]
    LateTableSize,
}

/// A field, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Whether its sender wants nobody on the way to keep it in a table (section 6.2.3), as of a secret (section 7.1.3).
    pub is_never_indexed: bool,
}

/// Decodes the header blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    pub(super) table: Table,
    /// The largest size that the table may have; `None` when that is not known.
    limit: Option<usize>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// That of a connection that begins.
    pub fn new() -> Self {
        Self { table: Table::new(), limit: Some(SIZE_AT_FIRST) }
    }

    /// That of a connection of which what came before is not known.
    pub fn late() -> Self {
        Self { table: Table::late(), limit: None }
    }

    /// Forgets all: blocks were not seen.
    pub fn lose(&mut self) {
        *self = Self::late();
    }

    /// Notes the SETTINGS_HEADER_TABLE_SIZE of the end that decodes. As long as that end has not been acknowledged, either may count:
    /// the largest one does.
    pub fn allow(&mut self, size: u32) {
        self.limit = self.limit.map(|limit| limit.max(size as usize));
    }

    /// Whether every reference that is legal leads to what is known.
    pub fn is_exact(&self) -> bool {
        self.table.is_whole()
    }

    /// Bytes that are kept for later blocks.
    pub fn retained_bytes(&self) -> usize {
        self.table.retained_bytes()
    }

    /// Decodes a whole block, and gives each field to `field`. A string has at most 8/5 of the bytes of the block, and nothing is
    /// allocated beside two of them and the table.
    ///
    /// # Errors
    /// Where it is illegal; the fields before that were given.
    pub fn decode(&mut self, block: &[u8], mut field: impl FnMut(Field<'_>)) -> Result<(), Fault> {
        let mut input = block;
        let (mut names, mut values) = (Vec::new(), Vec::new());
        let mut is_first = true;
        while let Some(first) = input.first() {
            let is_never_indexed = first >> 4 == 1;
            let is_inserted = match first {
                0x80.. => {
                    let (name, value) = self.entry(integer::take(&mut input, 7)?)?;
                    field(Field { name, value, is_never_indexed: false });
                    is_first = false;
                    continue;
                }
                0x40.. => true,
                0x20.. => {
                    let size = integer::take(&mut input, 5)? as usize;
                    if !is_first {
                        return Err(Fault::LateTableSize);
                    }
                    if self.limit.is_some_and(|limit| size > limit) {
                        return Err(Fault::TableSize);
                    }
                    self.table.resize(size);
                    continue;
                }
                _ => false,
            };
            let name = match integer::take(&mut input, if is_inserted { 6 } else { 4 })? {
                0 => Some(string(&mut input, &mut names)?),
                index => self.entry(index)?.0.map(Cow::Borrowed),
            };
            let value = string(&mut input, &mut values)?;
            field(Field { name: name.as_deref(), value: Some(&value), is_never_indexed });
            is_first = false;
            if is_inserted {
                // It may come from an entry that has to go for the new one.
                let name = name.map(Cow::into_owned);
                self.table.insert((name.as_deref(), Some(&value)));
            }
        }
        Ok(())
    }

    /// The entry of an index (section 2.3.3).
    fn entry(&self, index: u32) -> Result<Parts<'_>, Fault> {
        let index = (index as usize).checked_sub(1).ok_or(Fault::Index)?;
        if let Some((name, value)) = STATIC_TABLE.get(index) {
            return Ok((Some(name.as_bytes()), Some(value.as_bytes())));
        }
        match self.table.get(index - STATIC_TABLE.len()) {
            Found::Entry(parts) => Ok(parts),
            Found::Unknown => Ok((None, None)),
            Found::None => Err(Fault::Index),
        }
    }
}

/// Takes a string (section 5.2); `buffer` is room for one that is coded.
fn string<'a: 's, 's>(input: &mut &'a [u8], buffer: &'s mut Vec<u8>) -> Result<Cow<'s, [u8]>, Fault> {
    let is_coded = input.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer::take(input, 7)? as usize;
    let (bytes, rest) = input.split_at_checked(length).ok_or(Fault::Truncated)?;
    *input = rest;
    if !is_coded {
        return Ok(bytes.into());
    }
    buffer.clear();
    huffman::decode(bytes, buffer)?;
    Ok(Cow::Borrowed(buffer))
}
