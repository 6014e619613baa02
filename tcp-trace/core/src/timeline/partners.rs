//! Which exchanges that the two ends of a connection saw are one. Where nothing makes that sure, none are.
//!
//! A stream of HTTP/2 has a number that both ends use. Of HTTP/1, both ends count alike what they read of the wire from its first byte
//! on. Calls of a TLS library may be seen from later on at one end than at the other, as may connections that were there before: then
//! times tell, because the server begins to read a request after the client's exchange before it is over, and before its own is.

use std::collections::HashMap;

use tcp_trace_model::{
    record::{Http, Outcome, Request},
    time::Time,
};

use super::pair::position;

/// By how much a call of the client that sent a request may be noted after the server's that read it, in microseconds: calls are noted
/// when they return.
const SLACK_US: u64 = 10_000;
/// Exchanges at a client's end that may be under way at once and are compared.
const COMPARED_MAX: usize = 64;

/// For each exchange that a server's end saw, the one at the client's end that is the same. `is_from_start` is whether both ends were
/// seen from the beginning of the connection on.
pub(super) fn at_client<'a>(
    clients: &[&'a Http],
    servers: &[&'a Http],
    is_from_start: bool,
) -> Vec<Option<&'a Http>> {
    let clients = Clients::of(clients, is_from_start);
    let mut found: Vec<_> = servers.iter().map(|server| clients.find(server)).collect();
    let mut claims = HashMap::<_, usize>::new();
    found.iter().flatten().for_each(|client| *claims.entry(position(client)).or_default() += 1);
    for client in &mut found {
        // Which of several it is, is not known.
        client.take_if(|client| claims.get(&position(client)) != Some(&1));
    }
    found
}

/// What tells the exchanges of a client's end apart.
struct Clients<'a> {
    by_stream: HashMap<u32, &'a Http>,
    by_index: HashMap<u64, &'a Http>,
    /// Of HTTP/1, with the times between which the server may begin to read its request; in their order.
    spans: Vec<(Time, Time, &'a Http)>,
    is_from_start: bool,
}

impl<'a> Clients<'a> {
    fn of(clients: &[&'a Http], is_from_start: bool) -> Self {
        let mut it =
            Self { by_stream: HashMap::new(), by_index: HashMap::new(), spans: Vec::new(), is_from_start };
        for http in clients {
            if let Some(id) = stream(http) {
                it.by_stream.insert(id, http);
                continue;
            }
            if it.is_counted(http) {
                it.by_index.insert(http.exchange.index, http);
            }
            let (from, until) = span(http);
            it.spans.push((from, until, http));
        }
        it.spans.sort_unstable_by_key(|(from, _, http)| (*from, http.exchange.index));
        it
    }

    /// Whether its position counts from the beginning of the connection, at either end.
    fn is_counted(&self, http: &Http) -> bool {
        self.is_from_start && http.exchange.tls.is_none()
    }

    fn find(&self, server: &Http) -> Option<&'a Http> {
        if let Some(id) = stream(server) {
            return self.by_stream.get(&id).copied();
        }
        // Where events were lost, one end may have counted less.
        let counted = self.by_index.get(&server.exchange.index).filter(|_| self.is_counted(server));
        if let Some(client) = counted.filter(|client| has_same_request(client, server)) {
            return Some(client);
        }
        let started = server.exchange.timing.started;
        let before = self.spans.partition_point(|(from, ..)| *from <= started);
        let before = self.spans[..before].iter().rev().take(COMPARED_MAX);
        let mut fitting =
            before.filter(|(_, until, http)| started <= *until && has_same_request(http, server));
        let (.., only) = fitting.next()?;
        fitting.next().is_none().then_some(*only)
    }
}

fn stream(http: &Http) -> Option<u32> {
    http.exchange.stream.as_ref().map(|stream| stream.id)
}

fn span(http: &Http) -> (Time, Time) {
    let timing = &http.exchange.timing;
    let earlier_ns = timing.idle_us.unwrap_or_default().min(SLACK_US) * 1_000;
    let from = Time(timing.started.0.saturating_sub(earlier_ns));
    // What failed is the last on its connection, and the server may read it when the client has given up.
    let until = if http.exchange.outcome == Outcome::Ok { http.time } else { Time(u64::MAX) };
    (from, until)
}

fn has_same_request<'a>(client: &'a Http, server: &'a Http) -> bool {
    let line = |request: &'a Request| (&request.method, &request.target);
    let [client, server] = [client, server].map(|http| http.exchange.request.as_ref().map(line));
    client.is_none() || server.is_none() || client == server
}

#[cfg(test)]
#[path = "partners_tests.rs"]
mod tests;
