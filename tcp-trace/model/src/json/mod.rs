//! Values to JSON, straight into a buffer: what serde_json writes, byte for byte, in half of its instructions. Only bytes
//! are written otherwise: as text where they are UTF-8, else `{"bytes": "<base64>"}`.

mod compound;
mod string;
mod writer;

pub use writer::{to_string, write};

#[cfg(test)]
mod tests;
