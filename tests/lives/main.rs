//! Every path through TCP's state diagram, lived by real sockets, recorded, and compared with independent
//! witnesses: the kernel's own text of each state change, its table of sockets, `ss`, and the segments that a
//! scripted remote host sends and receives.
//!
//! Tests whose names begin with `loopback_` need nothing but tcp-trace, loopback and tracefs. Those that begin
//! with `wire_` also need TUN devices, `ip` and `ss`.

mod loopback_afterlife;
mod loopback_close;
mod loopback_filters;
mod loopback_open;
mod loopback_reset;
mod loopback_stacks;
mod loopback_stalls;
mod loopback_verifier;
mod wire;
mod wire_close;
mod wire_data;
mod wire_flood;
mod wire_open;
mod wire_reset;
mod wire_stalls;
