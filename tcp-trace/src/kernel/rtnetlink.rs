//! Routes, interfaces and neighbours of a network namespace (rtnetlink(7), `net/ipv4/route.c`, `net/core/neighbour.c`).

mod answer;
mod request;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
};

use tcp_trace_model::record::{Interface, NextHop, Route, RouteType};
use thiserror::Error;

use self::answer::{Answer, Link, Neighbour, Way, answer};
use super::netlink::{self, MessageError};

/// Routes could not be asked for.
#[derive(Debug, Error)]
pub enum RouteError {
    /// A system call failed.
    #[error("cannot request routes over netlink")]
    Failed(#[from] io::Error),
    /// The answer is not netlink.
    #[error("malformed answer from the kernel")]
    Malformed(#[from] MessageError),
}

/// A netlink socket that asks for the routes of one network namespace.
#[derive(Debug)]
pub struct Rtnetlink(netlink::Socket);

impl Rtnetlink {
    /// One for the calling thread's network namespace. Needs no privileges.
    pub fn open() -> io::Result<Self> {
        netlink::Socket::open(None).map(Self)
    }

    /// One for the network namespace that `namespace` refers to: an opened `/proc/PID/ns/net` or a mount of it.
    /// `EPERM` without CAP_SYS_ADMIN in the user namespaces of both.
    pub fn in_namespace(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        netlink::Socket::in_namespace(namespace, None).map(Self)
    }

    /// The route of TCP segments from a local address to a peer, with what is known of the next hop; `None` when there
    /// is no such route.
    ///
    /// The kernel is told addresses and the peer's port, not the user, the mark, the interface or the port that the
    /// socket has: where rules or several next hops choose by those, the way taken can be another.
    pub fn route(&mut self, local: IpAddr, peer: SocketAddr) -> Result<Option<Route>, RouteError> {
        let Some(way) = self.way(peer, Some(local))? else { return Ok(None) };
        let preferred_source = self.way(peer, None)?.and_then(|way| way.preferred_source);
        let link = self.ask(|sequence| request::link(way.interface, sequence), Link::parse)?;
        let next_hop = match way.kind {
            RouteType::Local => None,
            RouteType::OnLink | RouteType::Gateway => {
                Some(self.next_hop(way.interface, way.gateway.unwrap_or(peer.ip()))?)
            }
        };
        Ok(Some(Route {
            kind: way.kind,
            interface: Interface { index: way.interface, name: link.and_then(|link| link.name) },
            preferred_source,
            next_hop,
        }))
    }

    fn way(&mut self, peer: SocketAddr, source: Option<IpAddr>) -> Result<Option<Way>, RouteError> {
        let way = self.ask(|sequence| request::route(peer, source, sequence), Way::parse)?;
        Ok(way.flatten())
    }

    fn next_hop(&mut self, interface: u32, address: IpAddr) -> Result<NextHop, RouteError> {
        let neighbour =
            self.ask(|sequence| request::neighbour(interface, address, sequence), Neighbour::parse)?;
        let Neighbour { mac, state } = neighbour.unwrap_or_default();
        Ok(NextHop { address, mac, state })
    }

    /// Asks for one object; `None` when the kernel refuses, because there is none.
    fn ask<T>(
        &mut self,
        request: impl FnOnce(u32) -> Vec<u8>,
        parse: impl Fn(&[u8]) -> Result<T, MessageError>,
    ) -> Result<Option<T>, RouteError> {
        let sequence = self.0.next_sequence();
        self.0.send(&request(sequence))?;
        loop {
            match answer(self.0.receive()??, sequence)? {
                Answer::Object(payload) => return Ok(Some(parse(payload)?)),
                Answer::Refused => return Ok(None),
                Answer::Nothing => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_host_itself() {
        let mut rtnetlink = Rtnetlink::open().unwrap();
        for (local, peer) in [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80")] {
            let local = local.parse().unwrap();
            let Some(route) = rtnetlink.route(local, peer.parse().unwrap()).unwrap() else {
                assert!(local.is_ipv6(), "a host without IPv6 has no route to ::1");
                continue;
            };
            assert_eq!((route.kind, route.next_hop), (RouteType::Local, None));
            assert_eq!(route.interface, Interface { index: 1, name: Some("lo".into()) });
            assert_eq!(route.preferred_source, Some(local));
        }
    }

    #[test]
    fn what_has_no_route_has_none() {
        // No address of this host, so nothing leaves from it.
        let route =
            Rtnetlink::open().unwrap().route("192.0.2.1".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
        assert_eq!(route.unwrap(), None);
    }
}
