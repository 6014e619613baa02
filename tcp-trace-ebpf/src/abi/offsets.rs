//! Where the running kernel keeps what the programs read: user space looks it up and sets it before loading.

/// Offsets in bytes of the kernel's struct fields that the programs read, looked up in the running kernel's BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `sock_common.skc_family`, u16.
    pub skc_family: u32,
    /// `sock_common.skc_num`, local port, u16 in host byte order.
    pub skc_num: u32,
    /// `sock_common.skc_dport`, u16 in network byte order.
    pub skc_dport: u32,
    /// `tcp_sock.inet_conn.icsk_inet.inet_sport`, u16 in network byte order: the local port, also when the socket is closed.
    pub inet_sport: u32,
    /// `sock_common.skc_rcv_saddr`, local IPv4 address.
    pub skc_rcv_saddr: u32,
    /// `sock_common.skc_daddr`, peer's IPv4 address.
    pub skc_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`, local IPv6 address.
    pub skc_v6_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`, peer's IPv6 address.
    pub skc_v6_daddr: u32,
    /// `sock_common.skc_net.net`, `struct net *`.
    pub skc_net: u32,
    /// `net.ns.inum`, u32.
    pub net_inum: u32,
    /// `sock_common.skc_state`, u8.
    pub skc_state: u32,
    /// `sock.sk_protocol`, u16.
    pub sk_protocol: u32,
    /// `sock.sk_shutdown`, u8.
    pub sk_shutdown: u32,
    /// `sock.sk_lock.owned`, int: 1 while a system call works on the socket (`lock_sock()`).
    pub sk_lock_owned: u32,
    /// `sock.sk_err`, int.
    pub sk_err: u32,
    /// `sock.sk_ack_backlog`, u32: connections that wait to be accepted.
    pub sk_ack_backlog: u32,
    /// `sock.sk_max_ack_backlog`, u32.
    pub sk_max_ack_backlog: u32,
    /// `tcp_sock.rcv_nxt`, u32.
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.copied_seq`, u32: what the application has read.
    pub tcp_copied_seq: u32,
    /// `tcp_sock.snd_una`, u32: the number after the last one that the peer acknowledged.
    pub tcp_snd_una: u32,
    /// `tcp_sock.snd_nxt`, u32: the number after the last one sent.
    pub tcp_snd_nxt: u32,
    /// `tcp_sock.rcv_wup`, u32: `rcv_nxt` when the window was announced last.
    pub tcp_rcv_wup: u32,
    /// `tcp_sock.rcv_wnd`, u32: the window that was announced last.
    pub tcp_rcv_wnd: u32,
    /// `tcp_sock.write_seq`, u32: the number after the last one written.
    pub tcp_write_seq: u32,
    /// `tcp_sock.max_window`, u32: the largest window that the peer announced.
    pub tcp_max_window: u32,
    /// `tcp_sock.bytes_acked`, u64.
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.rx_opt.num_sacks`, u8.
    pub tcp_num_sacks: u32,
    /// `tcp_sock.rx_opt.ts_recent`, u32: the last timestamp that counts.
    pub tcp_ts_recent: u32,
    /// `tcp_sock.rx_opt.ts_recent_stamp`, int: when that came, seconds of the monotonic clock.
    pub tcp_ts_recent_stamp: u32,
    /// `tcp_sock.srtt_us`, u32: eight times the smoothed round trip time.
    pub tcp_srtt_us: u32,
    /// `tcp_sock.snd_cwnd`, u32.
    pub tcp_snd_cwnd: u32,
    /// `tcp_sock.total_retrans`, u32.
    pub tcp_total_retrans: u32,
    /// `tcp_sock.is_mptcp`, bool: 1 for a subflow of an MPTCP socket. 0 when the kernel has no MPTCP, as the next two.
    pub tcp_is_mptcp: u32,
    /// `inet_connection_sock.icsk_ulp_data`, of a subflow `struct mptcp_subflow_context *`.
    pub icsk_ulp_data: u32,
    /// `mptcp_subflow_context.conn`, `struct sock *`: the MPTCP socket.
    pub mptcp_subflow_conn: u32,
    /// `sk_buff.sk`, `struct sock *`.
    pub skb_sk: u32,
    /// The byte with `sk_buff.ip_summed`, two bits.
    pub skb_ip_summed: u32,
    /// Where in that byte they begin.
    pub skb_ip_summed_bit: u32,
    /// The byte with `sk_buff.csum_valid`, one bit.
    pub skb_csum_valid: u32,
    /// Where in that byte it is.
    pub skb_csum_valid_bit: u32,
    /// `task_struct.flags`, unsigned int.
    pub task_flags: u32,
    /// `task_struct.group_leader`, `struct task_struct *`.
    pub task_group_leader: u32,
    /// `task_struct.comm`, 16 bytes.
    pub task_comm: u32,
    /// `task_struct.tgid`, int.
    pub task_tgid: u32,
    /// `task_struct.pid`, int: the thread's id.
    pub task_pid: u32,
    /// `task_struct.start_boottime`, u64.
    pub task_start_boottime: u32,
    /// `task_struct.self_exec_id`, u64: one more with every execve().
    pub task_self_exec_id: u32,
}

/// Offsets in bytes of `struct pt_regs` (`arch/*/include/uapi/asm/ptrace.h`): the same in every kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u32,
    /// Stack pointer.
    pub sp: u32,
    /// Frame pointer.
    pub fp: u32,
    /// Link register; that of `ip` on architectures that have none.
    pub lr: u32,
    /// The register in which Go has the goroutine that runs.
    pub goroutine: u32,
}
