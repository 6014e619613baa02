//! What `diagnose` finds: each fault is made for real, and each has a healthy twin.

mod close_wait;
mod closes;
mod connects;
mod copies;
mod counters;
mod gateway;
mod http;
mod listeners;
mod many;
mod network;
mod ports;
mod races;
mod recorded;
mod relays;
mod scenes;
mod seen;
mod small_writes;
mod three_ways;
mod waits;
mod windows;
