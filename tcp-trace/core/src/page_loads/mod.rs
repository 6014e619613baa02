//! Which HTTP exchanges of a recording belong to one page of a browser, or to one client. Pure.

mod address;
mod client;
mod group;
mod headers;
mod link;
mod opening;
mod pages;
mod redirects;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use group::{Group, Member, Subject, groups};
pub use headers::{is_redirect, keep_headers};
pub use link::Link;
pub use opening::{Opening, Resolution};
