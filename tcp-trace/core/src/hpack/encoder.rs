//! An encoder for tests: every representation that RFC 7541 has, as its caller chooses.

use super::{huffman, static_table::STATIC_TABLE};

/// How a field is written (RFC 7541, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As an index where there is one, or else as a literal that is inserted.
    Indexed,
    /// As a literal that is inserted.
    Inserted,
    /// As a literal that is not inserted.
    Plain,
    /// As a literal that nobody may insert.
    Never,
}

/// One direction's encoder.
#[derive(Debug)]
pub struct Encoder {
    /// The newest first.
    table: Vec<(Vec<u8>, Vec<u8>)>,
    max: usize,
    /// Whether strings are coded.
    pub is_coded: bool,
    /// Whether names are written as indices where there is one.
    pub has_name_indices: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { table: Vec::new(), max: 4096, is_coded: true, has_name_indices: true }
    }
}

fn number(out: &mut Vec<u8>, first: u8, bits: u32, number: usize) {
    let most = (1 << bits) - 1;
    if number < most {
        return out.push(first | number as u8);
    }
    out.push(first | most as u8);
    let mut left = number - most;
    while left >= 0x80 {
        out.push(0x80 | left as u8);
        left >>= 7;
    }
    out.push(left as u8);
}

impl Encoder {
    fn string(&self, out: &mut Vec<u8>, text: &[u8]) {
        if self.is_coded {
            let coded = huffman::encode(text);
            number(out, 0x80, 7, coded.len());
            out.extend(coded);
        } else {
            number(out, 0, 7, text.len());
            out.extend(text);
        }
    }

    fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let fixed = STATIC_TABLE.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        fixed.chain(self.table.iter().map(|(name, value)| (&name[..], &value[..])))
    }

    fn evict(&mut self, room: usize) {
        let size = |table: &[(Vec<u8>, Vec<u8>)]| -> usize {
            table.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
        };
        while size(&self.table) > room {
            self.table.pop();
        }
    }

    /// Sets the size of the table, and says so.
    pub fn resize(&mut self, out: &mut Vec<u8>, max: usize) {
        self.max = max;
        self.evict(max);
        number(out, 0x20, 5, max);
    }

    /// Writes a field.
    pub fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], form: Form) {
        let whole = self.entries().position(|entry| entry == (name, value));
        if let (Form::Indexed, Some(at)) = (form, whole) {
            return number(out, 0x80, 7, at + 1);
        }
        let named = self.entries().position(|(entry, _)| entry == name).map_or(0, |at| at + 1);
        let index = if self.has_name_indices { named } else { 0 };
        let is_inserted = matches!(form, Form::Indexed | Form::Inserted);
        match form {
            Form::Indexed | Form::Inserted => number(out, 0x40, 6, index),
            Form::Plain => number(out, 0, 4, index),
            Form::Never => number(out, 0x10, 4, index),
        }
        if index == 0 {
            self.string(out, name);
        }
        self.string(out, value);
        let size = name.len() + value.len() + 32;
        if is_inserted && size > self.max {
            self.table.clear();
        } else if is_inserted {
            self.evict(self.max - size);
            self.table.insert(0, (name.to_vec(), value.to_vec()));
        }
    }

    /// A block of fields, as most encoders would write them.
    pub fn block(&mut self, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in fields {
            self.field(&mut out, name, value, Form::Indexed);
        }
        out
    }
}
