//! Addresses that the host translates (NAT), in words.

use tcp_trace_model::record::{Ends, Network};

/// `sends to 127.0.0.1:15001 (NAT)`: what differs of the addresses with which a connection's segments leave the host; `None`
/// when nothing does.
pub fn translation(network: &Network) -> Option<String> {
    let Ends { local, peer } = network.translated?;
    Some(match (local != network.local, peer != network.peer) {
        (true, true) => format!("sends from {local} to {peer} (NAT)"),
        (true, false) => format!("sends from {local} (NAT)"),
        (false, true) => format!("sends to {peer} (NAT)"),
        (false, false) => return None,
    })
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::event::Endpoints;

    use super::*;

    #[test]
    fn only_what_differs_is_said() {
        let ends = |local: &str, peer: &str| Endpoints {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
        };
        let own = ends("10.0.0.1:5000", "10.9.9.9:80");
        for (translated, expected) in [
            (None, None),
            (Some(ends("10.0.0.1:5000", "127.0.0.1:15001")), Some("sends to 127.0.0.1:15001 (NAT)")),
            (Some(ends("10.0.0.7:7000", "10.9.9.9:80")), Some("sends from 10.0.0.7:7000 (NAT)")),
            (
                Some(ends("10.0.0.7:7000", "127.0.0.1:15001")),
                Some("sends from 10.0.0.7:7000 to 127.0.0.1:15001 (NAT)"),
            ),
            (Some(own), None),
        ] {
            let network = Network { translated: translated.map(Ends::from), ..Network::new(own, None) };
            assert_eq!(translation(&network).as_deref(), expected);
        }
    }
}
