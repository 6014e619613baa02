//! The values that tcp-trace speaks of, and its recording format: knows nothing of how they come about.

#![forbid(unsafe_code)]

mod blocks;
pub mod connection_info;
pub mod container;
pub mod event;
pub mod exchange;
pub mod fields;
pub mod filter;
pub mod http2;
pub mod json;
pub mod lookup;
pub mod network;
mod omit;
pub mod plaintext;
pub mod record;
pub mod refusal;
pub mod socket;
pub mod stack;
pub mod text;
pub mod time;
