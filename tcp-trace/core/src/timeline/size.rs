//! How many bytes of memory records take, to within what allocators add.

use tcp_trace_model::record::{
    Connection, ConnectionInfo, Dns, Exchange, Fields, Http, Process, Segment, Text, Tls, TlsHandshake,
    Transition,
};

/// What an entry takes in the tables of a store, beside the records.
pub(super) const LIFE: usize = 256;

pub(super) fn transition(transition: &Transition) -> usize {
    size_of::<Transition>() + info(&transition.connection) + string(transition.reason.as_ref())
}

pub(super) fn segment(segment: &Segment) -> usize {
    size_of::<Segment>() + info(&segment.connection)
}

pub(super) fn http(http: &Http) -> usize {
    let headers =
        |headers: &Fields| headers.iter().map(|(name, value)| name.len() + value.len() + 16).sum::<usize>();
    let request = http.exchange.request.as_ref();
    let request = request.map_or(0, |it| text(&it.method) + text(&it.target) + headers(&it.headers));
    let response = http.exchange.response.as_ref().map_or(0, |it| text(&it.reason) + headers(&it.headers));
    // The target is in the URL again.
    let url = http.exchange.request.as_ref().map_or(0, |it| text(&it.target))
        + http.exchange.url.as_ref().and_then(|url| url.host.as_ref()).map_or(0, text);
    size_of::<Http>()
        + size_of::<Exchange>()
        + request
        + response
        + url
        + info(&http.connection)
        + http.exchange.reason.as_ref().map_or(0, |reason| reason.len())
}

pub(super) fn tls_handshake(handshake: &TlsHandshake) -> usize {
    size_of::<TlsHandshake>() + tls(&handshake.tls) + info(&handshake.connection)
}

fn tls(tls: &Tls) -> usize {
    let client = &tls.client;
    let names =
        [&client.versions, &client.ciphers, &client.groups].map(|names| size_of_val(names.as_slice()));
    let alpn = client.alpn.iter().map(|name| size_of::<Text>() + text(name));
    let certificate = tls.certificate.as_ref().map_or(0, |certificate| {
        let names = certificate.names.iter().map(|name| size_of::<Text>() + text(name));
        size_of_val(&**certificate)
            + text(&certificate.subject)
            + text(&certificate.issuer)
            + names.sum::<usize>()
    });
    size_of::<Tls>()
        + names.iter().sum::<usize>()
        + alpn.sum::<usize>()
        + client.server_name.as_ref().map_or(0, text)
        + tls.next_protocol.as_ref().map_or(0, text)
        + certificate
        + size_of_val(tls.alerts.as_slice())
        + tls.data.as_deref().map_or(0, size_of_val)
}

pub(super) fn connection(summary: &Connection) -> usize {
    let stacks = if summary.stacks.is_some() { STACKS } else { 0 };
    size_of::<Connection>()
        + size_of_val(summary.states.as_slice())
        + info(&summary.connection)
        + string(summary.cgroup.as_ref())
        + string(summary.unit.as_ref())
        + string(summary.close.reason.as_ref())
        + summary.server.as_ref().map_or(0, |server| server.address.len())
        + summary.dns.as_ref().map_or(0, |dns| dns.name.len())
        + summary.tls.as_deref().map_or(0, tls)
        + summary.decrypted.as_deref().map_or(0, |it| size_of_val(it) + string(it.protocol.as_ref()))
        + stacks
}

pub(super) fn dns(dns: &Dns) -> usize {
    let answers =
        dns.answers.iter().map(|it| size_of_val(it) + it.name.len() + it.kind.len() + it.data.len());
    let question = dns.question.as_ref().map_or(0, |question| question.name.len() + question.kind.len());
    size_of::<Dns>()
        + answers.sum::<usize>()
        + question
        + process(dns.process.as_ref())
        + string(dns.cgroup.as_ref())
}

/// Of the frames of a connection's stacks, which connections share.
const STACKS: usize = 1024;

/// As if each record had its own: those that were read have.
fn info(info: &ConnectionInfo) -> usize {
    let shared = info.process.as_deref();
    size_of::<ConnectionInfo>() + shared.map_or(0, |_| size_of::<Process>()) + process(shared)
}

fn process(process: Option<&Process>) -> usize {
    process.map_or(0, |process| text(&process.name) + process.executable.as_ref().map_or(0, text))
}

fn text(text: &Text) -> usize {
    text.0.len()
}

fn string(string: Option<&String>) -> usize {
    string.map_or(0, String::len)
}
