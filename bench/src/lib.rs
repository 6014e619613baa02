//! Work of the pure core, in pieces that are measured: by time (`cargo bench`) and by instructions
//! (`cargo xtask bench --check`).

mod life;
mod raw;
mod work;

pub use work::{Work, works};
