//! Which functions of which files pass plaintext: TLS libraries, and programs that have one inside.
//!
//! [`Finder`] looks through what processes have mapped, and through the host's own libraries. Each file is read once, by its
//! symbols; what is attached to it concerns every process that executes it, now and later, in containers too.

mod emulated;
mod finder;
mod functions;
mod go;
mod image;
mod returns;
mod rustls;
mod uncovered;

pub use finder::{Finder, Known, Target};
pub use functions::Unhooked;
pub use uncovered::Uncovered;
