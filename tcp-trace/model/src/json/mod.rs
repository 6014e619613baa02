//! Values to JSON, straight into a buffer: what serde_json writes, byte for byte, in half of its instructions. Only bytes
//! are written otherwise: as text where they are UTF-8, else `{"bytes": "<base64>"}`.

mod compound;
mod string;
mod writer;

pub(crate) use string::{escape, is_escaped, is_plain, is_plain_head};
pub use writer::{to_string, write};

#[cfg(test)]
mod tests;
