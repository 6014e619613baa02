//! Which kernel struct fields the eBPF programs read, and where the running kernel keeps them.

use tcp_trace_ebpf::{Offsets, Registers};

use super::btf::{Btf, BtfError};

/// Looks up every offset that the programs need.
pub(super) fn look_up(btf: &Btf<'_>) -> Result<Offsets, BtfError> {
    // A kernel without IPv6 has no such fields, nor any socket for which they would be read.
    let ipv6 = |field| btf.offset("sock_common", field).unwrap_or_default();
    // All of them or none: 0 says that there is no MPTCP.
    let mptcp = || {
        let is_mptcp = btf.offset("tcp_sock", "is_mptcp").ok()?;
        let ulp_data = btf.offset("inet_connection_sock", "icsk_ulp_data").ok()?;
        Some((is_mptcp, ulp_data, btf.offset("mptcp_subflow_context", "conn").ok()?))
    };
    let (tcp_is_mptcp, icsk_ulp_data, mptcp_subflow_conn) = mptcp().unwrap_or_default();
    let ip_summed = btf.offset_in_bits("sk_buff", "ip_summed")?;
    let csum_valid = btf.offset_in_bits("sk_buff", "csum_valid")?;
    Ok(Offsets {
        skc_family: btf.offset("sock_common", "skc_family")?,
        skc_num: btf.offset("sock_common", "skc_num")?,
        skc_dport: btf.offset("sock_common", "skc_dport")?,
        inet_sport: btf.offset("tcp_sock", "inet_conn.icsk_inet.inet_sport")?,
        skc_rcv_saddr: btf.offset("sock_common", "skc_rcv_saddr")?,
        skc_daddr: btf.offset("sock_common", "skc_daddr")?,
        skc_v6_rcv_saddr: ipv6("skc_v6_rcv_saddr"),
        skc_v6_daddr: ipv6("skc_v6_daddr"),
        skc_net: btf.offset("sock_common", "skc_net.net")?,
        net_inum: btf.offset("net", "ns.inum")?,
        skc_state: btf.offset("sock_common", "skc_state")?,
        sk_protocol: btf.offset("sock", "sk_protocol")?,
        sk_shutdown: btf.offset("sock", "sk_shutdown")?,
        sk_lock_owned: btf.offset("sock", "sk_lock.owned")?,
        sk_err: btf.offset("sock", "sk_err")?,
        sk_ack_backlog: btf.offset("sock", "sk_ack_backlog")?,
        sk_max_ack_backlog: btf.offset("sock", "sk_max_ack_backlog")?,
        tcp_rcv_nxt: btf.offset("tcp_sock", "rcv_nxt")?,
        tcp_copied_seq: btf.offset("tcp_sock", "copied_seq")?,
        tcp_snd_una: btf.offset("tcp_sock", "snd_una")?,
        tcp_snd_nxt: btf.offset("tcp_sock", "snd_nxt")?,
        tcp_rcv_wup: btf.offset("tcp_sock", "rcv_wup")?,
        tcp_rcv_wnd: btf.offset("tcp_sock", "rcv_wnd")?,
        tcp_write_seq: btf.offset("tcp_sock", "write_seq")?,
        tcp_max_window: btf.offset("tcp_sock", "max_window")?,
        tcp_bytes_acked: btf.offset("tcp_sock", "bytes_acked")?,
        tcp_num_sacks: btf.offset("tcp_sock", "rx_opt.num_sacks")?,
        tcp_ts_recent: btf.offset("tcp_sock", "rx_opt.ts_recent")?,
        tcp_ts_recent_stamp: btf.offset("tcp_sock", "rx_opt.ts_recent_stamp")?,
        tcp_srtt_us: btf.offset("tcp_sock", "srtt_us")?,
        tcp_snd_cwnd: btf.offset("tcp_sock", "snd_cwnd")?,
        tcp_total_retrans: btf.offset("tcp_sock", "total_retrans")?,
        tcp_is_mptcp,
        icsk_ulp_data,
        mptcp_subflow_conn,
        skb_sk: btf.offset("sk_buff", "sk")?,
        skb_ip_summed: ip_summed / 8,
        skb_ip_summed_bit: ip_summed % 8,
        skb_csum_valid: csum_valid / 8,
        skb_csum_valid_bit: csum_valid % 8,
        task_flags: btf.offset("task_struct", "flags")?,
        task_group_leader: btf.offset("task_struct", "group_leader")?,
        task_comm: btf.offset("task_struct", "comm")?,
        task_tgid: btf.offset("task_struct", "tgid")?,
        task_pid: btf.offset("task_struct", "pid")?,
        task_start_boottime: btf.offset("task_struct", "start_boottime")?,
        task_self_exec_id: btf.offset("task_struct", "self_exec_id")?,
    })
}

/// Where `struct pt_regs` of this architecture has what unwinding begins with
/// (`arch/x86/include/uapi/asm/ptrace.h`, `arch/arm64/include/uapi/asm/ptrace.h`).
pub(super) fn registers() -> Registers {
    if cfg!(target_arch = "aarch64") {
        Registers { ip: 256, sp: 248, fp: 29 * 8, lr: 30 * 8, goroutine: 28 * 8 }
    } else {
        Registers { ip: 16 * 8, sp: 19 * 8, fp: 4 * 8, lr: 16 * 8, goroutine: 8 }
    }
}
