//! What `diagnose` finds: each fault is made for real, and each has a healthy twin.

mod close_wait;
mod closes;
mod connects;
mod gateway;
mod http;
mod listeners;
mod many;
mod races;
mod recorded;
mod windows;
