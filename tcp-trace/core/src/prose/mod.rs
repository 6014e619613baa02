//! Words, numbers and lines for people.

mod palette;
mod phrase;
mod units;
mod wrap;

pub use palette::Palette;
pub use phrase::{Phrase, Tone, cut, padded};
pub use units::{Age, Micros, Size, counted};
pub use wrap::{join, width, wrap};
