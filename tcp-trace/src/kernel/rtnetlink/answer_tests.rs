//! Tests of answers, written as `struct rtmsg` and its like lay them out.

use proptest::prelude::*;

use super::*;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len() as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn route(kind: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![2, 32, 0, 0, 254, 0, 0, kind, 0, 0, 0, 0];
    bytes.extend(attributes.iter().flat_map(|(kind, value)| attribute(*kind, value)));
    bytes
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn a_route_leads_to_this_host_to_a_neighbour_or_to_a_router() {
    let index = 3u32.to_ne_bytes();
    let interface = (RTA_OIF, &index[..]);
    let way = |kind, gateway| Some(Way { kind, interface: 3, gateway, preferred_source: None });
    let mut via = vec![10, 0];
    via.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    for (bytes, expected) in [
        (route(RTN_LOCAL, &[interface]), way(RouteType::Local, None)),
        (route(RTN_UNICAST, &[interface]), way(RouteType::OnLink, None)),
        (
            route(RTN_UNICAST, &[(RTA_GATEWAY, &[10, 0, 0, 1]), interface]),
            way(RouteType::Gateway, ip("10.0.0.1")),
        ),
        (route(RTN_UNICAST, &[(RTA_VIA, &via), interface]), way(RouteType::Gateway, ip("fe80::1"))),
        // RTN_UNREACHABLE, and a route that names no interface.
        (route(7, &[interface]), None),
        (route(RTN_UNICAST, &[]), None),
    ] {
        assert_eq!(Way::parse(&bytes), Ok(expected), "{bytes:?}");
    }
    let bytes = route(RTN_UNICAST, &[(RTA_PREFSRC, &[10, 0, 0, 9]), interface]);
    assert_eq!(Way::parse(&bytes).unwrap().unwrap().preferred_source, ip("10.0.0.9"));
    assert!(Way::parse(&route(RTN_UNICAST, &[(RTA_GATEWAY, &[1, 2, 3])])).is_err());
    assert!(Way::parse(&[2; 11]).is_err());
}

#[test]
fn an_interface_has_a_name() {
    let bytes = [vec![0; 16], attribute(IFLA_IFNAME, b"veth0\0")].concat();
    assert_eq!(Link::parse(&bytes), Ok(Link { name: Some("veth0".into()) }));
    assert_eq!(Link::parse(&[0; 16]), Ok(Link { name: None }));
}

#[test]
fn a_neighbour_has_a_state_and_perhaps_an_address() {
    let neighbour = |state: u16, address: &[u8]| {
        let mut bytes = vec![2, 0, 0, 0, 3, 0, 0, 0];
        bytes.extend(state.to_ne_bytes());
        bytes.extend([0, 1]);
        bytes.extend(attribute(NDA_LLADDR, address));
        let Neighbour { mac, state } = Neighbour::parse(&bytes).unwrap();
        (mac.unwrap_or_default(), state.unwrap_or_default())
    };
    for (state, name) in STATES {
        assert_eq!(
            neighbour(state, &[2, 0, 0x5e, 0, 0xab, 1]),
            ("02:00:5e:00:ab:01".to_owned(), name.to_owned())
        );
    }
    // Links without addresses have some of no length; states of later kernels have no name.
    assert_eq!(neighbour(0x40, &[]), (String::new(), "NOARP".to_owned()));
    assert_eq!(neighbour(0, &[]), (String::new(), String::new()));
}

#[test]
fn answers_to_other_requests_are_passed_over() {
    let message = |kind: u16, sequence: u32, payload: &[u8]| {
        let mut bytes = (16 + payload.len() as u32).to_ne_bytes().to_vec();
        bytes.extend([kind.to_ne_bytes(), [0; 2]].concat());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes
    };
    let both = [message(24, 1, b"old!"), message(24, 2, b"new!")].concat();
    assert_eq!(answer(&both, 2), Ok(Answer::Object(b"new!")));
    assert_eq!(answer(&both, 3), Ok(Answer::Nothing));
    assert_eq!(answer(&message(NLMSG_ERROR, 2, &(-101i32).to_ne_bytes()), 2), Ok(Answer::Refused));
    assert!(answer(&both[..17], 2).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_an_object_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (answer(&bytes, 0), Way::parse(&bytes), Link::parse(&bytes), Neighbour::parse(&bytes));
    }
}
