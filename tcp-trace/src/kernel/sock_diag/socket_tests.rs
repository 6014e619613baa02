//! Tests of the sockets' bytes, written as `struct inet_diag_msg` lays them out.

use proptest::prelude::*;

use super::*;

const LOCAL: [u8; 4] = [10, 1, 2, 3];
const PEER: [u8; 4] = [10, 4, 5, 6];

/// A message of a socket: family, state, timer and retransmits as given, IPv4 addresses, all else distinct.
pub(in super::super) fn message(start: [u8; 4]) -> Vec<u8> {
    let mut bytes = start.to_vec();
    bytes.extend([0x1f, 0x90, 0x01, 0xbb]);
    for address in [LOCAL, PEER] {
        bytes.extend(address);
        bytes.extend([0; 12]);
    }
    // Interface, cookie (low, high), expires, rqueue, wqueue, uid, inode.
    for number in [3u32, 4101, 1, 2500, 11, 12, 1000, 77] {
        bytes.extend(number.to_ne_bytes());
    }
    assert_eq!(bytes.len(), MESSAGE_LENGTH);
    bytes
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[test]
fn every_field_is_read_from_its_place() {
    let socket = parse(&message([2, 1, 1, 5])).unwrap();
    let expected = Socket {
        family: Family::Inet,
        endpoints: Endpoints {
            local: "10.1.2.3:8080".parse().unwrap(),
            peer: "10.4.5.6:443".parse().unwrap(),
        },
        state: State::Established,
        cookie: 1 << 32 | 4101,
        timer: Timer::Retransmit,
        retransmits: 5,
        expires_ms: 2500,
        rqueue: 11,
        wqueue: 12,
        uid: 1000,
        inode: 77,
        shutdown: None,
        cgroup: None,
        drops: None,
        info: None,
    };
    assert_eq!(socket, expected);
    assert!(!socket.is_mini());
}

#[test]
fn attributes_are_read_and_unknown_ones_passed_over() {
    let mut bytes = message([2, 8, 0, 0]);
    attribute(&mut bytes, 999, b"of a later kernel");
    attribute(&mut bytes, INET_DIAG_SHUTDOWN, &[1]);
    let memory: Vec<u8> = (0..36u32).step_by(4).flat_map(u32::to_ne_bytes).collect();
    attribute(&mut bytes, INET_DIAG_SKMEMINFO, &memory);
    attribute(&mut bytes, INET_DIAG_CGROUP_ID, &0x1_0000_0002u64.to_ne_bytes());
    // Each 4 bytes hold their own offset; a later kernel's struct is longer. The fields of one byte are distinct.
    let mut info: Vec<u8> = (0..300u32).step_by(4).flat_map(u32::to_ne_bytes).collect();
    info[..5].copy_from_slice(&[1, 0, 2, 3, 4]);
    info[242..244].copy_from_slice(&242u16.to_ne_bytes());
    attribute(&mut bytes, INET_DIAG_INFO, &info);
    let socket = parse(&bytes).unwrap();
    assert_eq!((socket.shutdown, socket.cgroup), (Some(1), Some(0x1_0000_0002)));
    assert_eq!(socket.drops, Some(32));
    let of_u64 =
        |at: u64| if cfg!(target_endian = "little") { (at + 4) << 32 | at } else { at << 32 | (at + 4) };
    let expected = TcpInfo {
        retransmits: 2,
        probes: 3,
        backoff: 4,
        rto_us: 8,
        unacked: 24,
        last_data_sent_ms: 44,
        last_data_recv_ms: 52,
        last_ack_recv_ms: 56,
        srtt_us: 68,
        cwnd: 80,
        total_retrans: 100,
        bytes_acked: of_u64(120),
        bytes_received: of_u64(128),
        notsent_bytes: 144,
        rwnd_limited_us: of_u64(176),
        bytes_sent: of_u64(200),
        bytes_retrans: of_u64(208),
        snd_wnd: Some(228),
        rcv_wnd: Some(232),
        total_rto_recoveries: Some(242),
        total_rto_time_ms: Some(244),
    };
    assert_eq!(socket.info, Some(expected));
}

#[test]
fn an_older_kernel_says_less() {
    let mut bytes = message([2, 1, 0, 0]);
    attribute(&mut bytes, INET_DIAG_INFO, &[7; 232]);
    let info = parse(&bytes).unwrap().info.unwrap();
    assert_eq!((info.snd_wnd, info.rcv_wnd), (Some(0x0707_0707), None));
    assert_eq!((info.total_rto_recoveries, info.total_rto_time_ms), (None, None));
}

#[test]
fn mini_sockets_and_half_open_requests_are_told_apart() {
    for (state, timer, expected, is_mini) in [
        (6, 3, State::TimeWait, true),
        (5, 3, State::FinWait2, true),
        (5, 2, State::FinWait2, false),
        (3, 1, State::SynRecv, false),
        (12, 1, State::SynRecv, false),
    ] {
        let socket = parse(&message([2, state, timer, 0])).unwrap();
        assert_eq!((socket.state, socket.is_mini()), (expected, is_mini));
    }
}

#[test]
fn mapped_addresses_are_ipv4() {
    let mut bytes = message([10, 1, 0, 0]);
    for (at, last) in [(8, LOCAL), (24, PEER)] {
        bytes[at..at + 16].copy_from_slice(&Ipv4Addr::from(last).to_ipv6_mapped().octets());
    }
    let socket = parse(&bytes).unwrap();
    assert_eq!(socket.family, Family::Inet6);
    assert_eq!(socket.endpoints.local, "10.1.2.3:8080".parse().unwrap());
    assert_eq!(socket.endpoints.peer, "10.4.5.6:443".parse().unwrap());
}

#[test]
fn what_cannot_be_is_an_error() {
    for (start, field, value) in [
        ([1, 1, 0, 0], "idiag_family", 1),
        ([2, 0, 0, 0], "idiag_state", 0),
        ([2, 13, 0, 0], "idiag_state", 13),
    ] {
        assert_eq!(parse(&message(start)), Err(MessageError::Value { field, value }));
    }
    let bytes = message([2, 1, 0, 0]);
    let what = "struct inet_diag_msg";
    assert_eq!(parse(&bytes[..71]), Err(MessageError::Short { what, length: 71 }));
    for (kind, length, what) in [
        (INET_DIAG_INFO, 135, "struct tcp_info"),
        (INET_DIAG_SHUTDOWN, 0, "INET_DIAG_SHUTDOWN"),
        (INET_DIAG_SKMEMINFO, 35, "INET_DIAG_SKMEMINFO"),
        (INET_DIAG_CGROUP_ID, 7, "INET_DIAG_CGROUP_ID"),
    ] {
        let mut bytes = bytes.clone();
        attribute(&mut bytes, kind, &vec![0; length]);
        assert_eq!(parse(&bytes), Err(MessageError::Short { what, length }));
    }
}

#[test]
fn a_timer_of_a_later_kernel_is_kept() {
    assert_eq!(parse(&message([2, 1, 9, 0])).unwrap().timer, Timer::Other(9));
}

proptest! {
    #[test]
    fn any_bytes_give_a_socket_or_an_error(
        known in any::<bool>(),
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        if let (true, [family, state, ..]) = (known, bytes.as_mut_slice()) {
            (*family, *state) = (10, 1);
        }
        // The answer does not matter, only that there is one.
        let _ = parse(&bytes);
    }

    #[test]
    fn cut_messages_are_errors_or_sockets(length in 0usize..300, value in prop::collection::vec(any::<u8>(), 220)) {
        let mut bytes = message([2, 1, 0, 0]);
        attribute(&mut bytes, INET_DIAG_INFO, &value);
        let cut = &bytes[..length.min(bytes.len())];
        prop_assert_eq!(parse(cut).is_ok(), cut.len() == MESSAGE_LENGTH || cut.len() == bytes.len());
    }
}
