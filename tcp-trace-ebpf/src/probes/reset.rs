//! Why the kernel sends an RST.

use aya_ebpf::{
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tcp_trace_ebpf::{KIND_RESET, RawHeader, RawReset, decide::translation::Ports};

use super::translation;
use crate::{emit, filter, process_filter, sock};

/// `TRACE_EVENT(tcp_send_reset, TP_PROTO(const struct sock *sk, const struct sk_buff *skb__nullable,
/// const enum sk_rst_reason reason))`, with a reason from Linux 6.10 on. Without a socket the RST answers a
/// segment to nobody.
#[btf_tracepoint(function = "tcp_send_reset")]
pub(crate) fn tcp_send_reset(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let reason: u32 = ctx.arg(2);
    if sk.is_null()
        || process_filter::is_excluded(sk)
        || filter::is_in_excluded_network(sk, sock::ports(sk).peer)
        || filter::are_ports_filtered() && is_excluded_by_ports(sk) && !translation::is_known(sk)
    {
        return 0;
    }
    emit::record(RawReset {
        header: RawHeader {
            // SAFETY: the helper has no preconditions.
            time_ns: unsafe { bpf_ktime_get_ns() },
            // SAFETY: the pointer is a tracepoint's argument and not null.
            cookie: unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) },
            kind: KIND_RESET,
            padding: 0,
        },
        reason,
        padding: 0,
    });
    0
}

/// Whether ports exclude a socket, which may have given its own back by now (`tcp_set_state()`).
#[inline(always)]
fn is_excluded_by_ports(sk: *const u8) -> bool {
    let Ports { mut local, peer } = sock::ports(sk);
    if local == 0 {
        local = sock::last_local_port(sk);
    }
    filter::is_excluded(Ports { local, peer })
}
