//! DNS: messages to lookups, their records, and which connection follows which lookup.

use tcp_trace_model::{
    event::{Cookie, Datagram, Owner, Role},
    filter::Facts,
    lookup::Transport,
    record::{ConnectionId, Dns, Exchange, Network, Process, Record, Url},
    time::Time,
};

use super::cx::Cx;
use crate::{
    conn::Connection,
    dns::{Lookup, Lookups, Names, Source},
};

/// What processes ask DNS servers, and what comes of it.
#[derive(Debug, Default)]
pub(super) struct Resolutions {
    lookups: Lookups,
    /// Lookups that are over and not recorded yet.
    over: Vec<Lookup>,
    /// How many were recorded, or kept to be.
    count: u64,
    /// Recent lookups, with their records where those were not asked for yet.
    names: Names<Box<Dns>>,
}

impl Resolutions {
    /// Takes a datagram to or from a DNS server.
    pub(super) fn datagram(&mut self, time: Time, cookie: Cookie, datagram: &Datagram<'_>, cx: &mut Cx) {
        let Datagram { direction, endpoints, netns, length, payload } = *datagram;
        let source = Source {
            cookie,
            endpoints,
            netns: Some(netns),
            transport: Transport::Udp,
            connection: None,
            owner: None,
        };
        let whole = (payload, length as usize);
        self.lookups.message(time, source, direction, whole, &mut self.over);
        self.write(cx);
    }

    /// Takes messages that a connection carried.
    pub(super) fn messages(&mut self, connection: &Connection, cx: &mut Cx) {
        let messages = std::mem::take(&mut cx.found.messages);
        let Some(endpoints) = connection.endpoints() else { return };
        let source = Source {
            cookie: connection.id().cookie,
            endpoints,
            netns: connection.netns(),
            transport: Transport::Tcp,
            connection: Some(connection.id()),
            owner: connection.owner().cloned(),
        };
        for message in messages {
            let whole = (message.bytes.as_slice(), message.bytes.len());
            self.lookups.message(message.time, source.clone(), message.direction, whole, &mut self.over);
        }
        self.write(cx);
    }

    /// Notes the process of a socket.
    pub(super) fn owner(&mut self, cookie: Cookie, owner: &Owner, cx: &mut Cx) {
        self.lookups.owner(cookie, owner, &mut self.over);
        self.write(cx);
    }

    /// Gives up what a connection that is over has asked.
    pub(super) fn closed(&mut self, id: ConnectionId, now: Time, cx: &mut Cx) {
        self.lookups.closed(id.cookie, now, &mut self.over);
        self.write(cx);
    }

    /// Notes that events were lost.
    pub(super) fn events_lost(&mut self) {
        self.lookups.events_lost();
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now: Time, cx: &mut Cx) {
        self.lookups.tick(now, &mut self.over);
        self.write(cx);
        self.names.tick(now);
    }

    /// Ends the session.
    pub(super) fn finish(&mut self, now: Time, cx: &mut Cx) {
        self.lookups.finish(now, &mut self.over);
        self.write(cx);
    }

    /// Writes the records of lookups that are over, and keeps for later those that only a connection can ask for.
    fn write(&mut self, cx: &mut Cx) {
        for lookup in std::mem::take(&mut self.over) {
            self.count += 1;
            let number = self.count;
            let record = record(&lookup, number);
            let Source { endpoints, netns, .. } = lookup.source;
            let facts =
                Facts { endpoints: Some(endpoints), netns, owner: lookup.owner.as_ref(), ..Facts::default() };
            let kept = if cx.settings.filter.judge_finally(facts) {
                cx.out.record(Record::Dns(Box::new(record)));
                None
            } else {
                Some(Box::new(record))
            };
            self.names.learn(&lookup, number, kept);
        }
        cx.out.lose(self.lookups.take_lost());
    }

    /// Links a connection that begins to the lookup that its process made for it.
    pub(super) fn link(&mut self, time: Time, connection: &mut Connection) {
        let (Some(Role::Client), Some(endpoints), Some(owner)) =
            (connection.role(), connection.endpoints(), connection.owner())
        else {
            return;
        };
        if let Some(resolved) = self.names.find(owner, endpoints.peer.ip(), time) {
            connection.learn_resolved(resolved);
        }
    }

    /// Writes the lookup that a chosen connection follows, whose gate is not decided, unless it was written before.
    pub(super) fn write_linked(&mut self, connection: &Connection, cx: &mut Cx) {
        let Some(number) = connection.resolved().map(|resolved| resolved.lookup) else { return };
        if cx.settings.filter.judge(connection.facts()) == Some(true)
            && let Some(record) = self.names.take(number)
        {
            cx.out.record(Record::Dns(record));
        }
    }
}

/// The record of a lookup.
fn record(lookup: &Lookup, number: u64) -> Dns {
    let Source { endpoints, netns, transport, connection, .. } = &lookup.source;
    Dns {
        time: lookup.ended,
        lookup: number,
        question: lookup.question.clone(),
        answers: lookup.answers.clone(),
        rcode: lookup.rcode.clone(),
        outcome: lookup.outcome,
        started: lookup.started,
        duration_us: lookup.duration_us,
        retransmits: lookup.retransmits,
        process: lookup.owner.as_ref().map(Process::from),
        cgroup: lookup.owner.as_ref().and_then(|owner| owner.info.cgroup.as_deref()).map(str::to_owned),
        server: endpoints.peer.into(),
        transport: *transport,
        network: Network::new(*endpoints, *netns),
        connection: *connection,
        error: lookup.error.clone(),
    }
}

/// The name in a Host field (RFC 9110, section 7.2) without its port; `None` when it is an address.
pub(super) fn host_name(host: &[u8]) -> Option<&str> {
    let name = host.split(|byte| *byte == b':').next().filter(|name| !name.is_empty())?;
    if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte)) {
        return None;
    }
    let name = str::from_utf8(name).ok()?;
    name.parse::<std::net::Ipv4Addr>().is_err().then_some(name)
}

/// Learns from an exchange what its server is called, where its request is the first that says so. `nameless` is the
/// value of the last Host field that named none: that of the next request is often the same.
pub(super) fn learn_host(connection: &mut Connection, exchange: &Exchange, nameless: &mut Vec<u8>) {
    let Some(request) = exchange.request.as_ref().filter(|_| !connection.knows_host()) else { return };
    // A request to a proxy names another server than the one it goes to.
    if !request.target.0.starts_with(b"/") {
        return;
    }
    let host = match &exchange.url {
        // Of such a target, it is the value of the Host field.
        Some(Url { scheme: Some(_), host, .. }) => host.as_ref().map(|host| &*host.0),
        _ => request.headers.first("host"),
    };
    let Some(host) = host.filter(|host| host != nameless) else { return };
    match host_name(host) {
        Some(name) => connection.learn_host(name),
        None => {
            nameless.clear();
            nameless.extend_from_slice(host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::host_name;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (host, expected) in [
            ("example.com", Some("example.com")),
            ("example.com:8080", Some("example.com")),
            ("localhost", Some("localhost")),
            ("127.0.0.1", None),
            ("127.0.0.1:80", None),
            ("[::1]:80", None),
            ("", None),
            (":80", None),
            ("a b", None),
            ("größe.example", None),
        ] {
            assert_eq!(host_name(host.as_bytes()), expected, "{host}");
        }
        assert_eq!(host_name(b"\xff"), None);
    }
}
