//! Words, numbers and lines for people.

mod palette;
mod phrase;
mod protocols;
mod translation;
mod units;
mod wrap;

pub use palette::Palette;
pub use phrase::{Phrase, Tone, cut, padded};
pub use protocols::{has_own_records, protocol_name};
pub use translation::translation;
pub use units::{Age, Micros, Size, counted};
pub use wrap::{join, width, wrap};
