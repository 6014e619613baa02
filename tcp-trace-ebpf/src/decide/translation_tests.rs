//! Which segments translated ports select.

use super::*;
use crate::{AF_INET, PORTS_EITHER, PORTS_LOCAL, PORTS_PEER, decide::filter::are_ports_excluded};

const fn ports(local: u16, peer: u16) -> Ports {
    Ports { local, peer }
}

/// A filter by one set of ports, which has only `selected`.
fn select_by(set: u8, selected: u16, own: Ports, packet: Ports) -> Selection {
    let is_excluded =
        |Ports { local, peer }| are_ports_excluded(set, local, peer, |_, port| port == selected);
    let own = own.or(packet);
    select(own, packet, is_excluded(own), || is_excluded(packet))
}

#[test]
fn a_redirected_client_is_selected_by_either_port_of_its_peer() {
    // connect() to port 80, REDIRECT to 15001.
    let (own, packet) = (ports(40_000, 80), ports(40_000, 15_001));
    for set in [PORTS_EITHER, PORTS_PEER] {
        assert_eq!(select_by(set, 80, own, packet), Selection::Own);
        assert_eq!(select_by(set, 15_001, own, packet), Selection::Translated);
        assert_eq!(select_by(set, 81, own, packet), Selection::Excluded);
    }
    assert_eq!(select_by(PORTS_LOCAL, 80, own, packet), Selection::Excluded);
}

#[test]
fn without_translation_the_socket_decides() {
    let own = ports(40_000, 80);
    assert_eq!(select_by(PORTS_EITHER, 80, own, own), Selection::Own);
    assert_eq!(select_by(PORTS_EITHER, 81, own, own), Selection::Excluded);
}

#[test]
fn the_answer_of_a_redirected_listener_is_selected_by_either_local_port() {
    let (own, packet) = (ports(15_001, 0), ports(80, 40_000));
    for set in [PORTS_EITHER, PORTS_LOCAL] {
        assert_eq!(select_by(set, 15_001, own, packet), Selection::Own);
        assert_eq!(select_by(set, 80, own, packet), Selection::Translated);
    }
    assert_eq!(select_by(PORTS_PEER, 40_000, own, packet), Selection::Own);
    assert_eq!(select_by(PORTS_PEER, 40_001, own, packet), Selection::Excluded);
}

#[test]
fn a_control_socket_has_the_ports_of_its_packet() {
    let packet = ports(80, 40_000);
    assert_eq!(select_by(PORTS_EITHER, 80, ports(0, 0), packet), Selection::Own);
    assert_eq!(select_by(PORTS_EITHER, 81, ports(0, 0), packet), Selection::Excluded);
}

#[test]
fn an_answer_goes_where_its_syn_went() {
    use Selection::{Excluded, Own, Translated};
    for (selection, is_expected, expected) in [
        (Own, true, Own),
        (Own, false, Translated),
        (Excluded, true, Own),
        (Excluded, false, Excluded),
        (Translated, true, Translated),
        (Translated, false, Translated),
    ] {
        assert_eq!(select_answer(selection, is_expected), expected, "{selection:?} {is_expected}");
    }
}

#[test]
fn addresses_differ_by_any_of_their_parts() {
    let address = |last| crate::Bytes16([u32::from_ne_bytes([10, 0, 0, last]), 0, 0, 0]);
    let own = RawEndpoints {
        local_address: address(1),
        peer_address: address(2),
        local_port: 40_000,
        peer_port: 80,
        family: AF_INET,
        unverified_sum: 0,
    };
    assert!(!differ(&own, &own));
    for packet in [
        RawEndpoints { local_address: address(9), ..own },
        RawEndpoints { peer_address: address(9), ..own },
        RawEndpoints { local_port: 7_000, ..own },
        RawEndpoints { peer_port: 15_001, ..own },
    ] {
        assert!(differ(&own, &packet), "{packet:?}");
    }
    let closed = RawEndpoints { local_port: 0, ..own };
    assert!(!differ(&closed, &own), "its port is given back before its RST goes out");
}
