//! Exchanges for tests, in field words.
#![allow(clippy::unwrap_used, reason = "tests make them")]

use std::{net::IpAddr, sync::Arc};

use tcp_trace_model::{
    event::Role,
    record::{
        self, Body, ConnectionId, ConnectionInfo, Endpoint, Fields, Http, Network, Process, Request,
        Response, Timing, Url, Version,
    },
    time::Time,
};

/// When the sessions of the tests begin, in nanoseconds.
pub const START: u64 = 1_790_000_000_000_000_000;

/// An exchange that is being described.
#[derive(Clone, Debug)]
pub struct Exchange(pub Http);

/// A GET of Firefox, process 100, that begins this many milliseconds after the start and takes 10 ms:
/// `http://HOST/PATH`.
pub fn get(ms: u64, url: &str) -> Exchange {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, target) = rest.split_at(rest.find('/').unwrap());
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.into())));
    let endpoint = |port| Endpoint { address: IpAddr::from([10, 0, 0, 1]), port };
    let network = Network { local: endpoint(40_000), peer: endpoint(80), ..Network::default() };
    let process = Process { pid: 100, name: "firefox".into(), ..Process::default() };
    let info = ConnectionInfo {
        id: ConnectionId::of_socket(1, 0),
        role: Some(Role::Client),
        network: Some(network),
        process: Some(Arc::new(process)),
        ..ConnectionInfo::default()
    };
    let exchange = record::Exchange {
        request: Some(Request {
            method: "GET".into(),
            target: target.into(),
            version: Some(Version::default()),
            headers: Fields::new(),
            header_size: 100,
            body: Body { size: 0 },
        }),
        response: Some(Response {
            status_code: 200,
            reason: "OK".into(),
            version: Some(Version::default()),
            headers: Fields::new(),
            header_size: 100,
            body: Body { size: 1_000 },
            place: 0..0,
        }),
        url: Some(Url { scheme: Some("http".into()), host: Some(host.into()), path: path.into(), query }),
        timing: Timing {
            started: Time(START + ms * 1_000_000),
            send_us: Some(0),
            wait_us: Some(8_000),
            receive_us: Some(2_000),
            total_us: 10_000,
            ..Timing::default()
        },
        reused: Some(false),
        ..record::Exchange::default()
    };
    Exchange(Http { time: Time(START), connection: Arc::new(info), exchange: Box::new(exchange) })
}

impl Exchange {
    /// With a header field of the request.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let request = self.0.exchange.request.as_mut().unwrap();
        request.headers.push(name, value);
        self
    }

    /// With this Referer field.
    pub fn referer(self, url: &str) -> Self {
        self.with("Referer", url)
    }

    /// As a browser requests what is opened in a tab, from a host that it trusts.
    pub fn document(self) -> Self {
        self.with("Sec-Fetch-Dest", "document").with("Sec-Fetch-Site", "none").is("text/html")
    }

    /// As a browser requests a document from any other host.
    pub fn navigation(self) -> Self {
        self.with("Accept", "text/html,application/xhtml+xml,*/*;q=0.8").is("text/html")
    }

    /// With this media type of the response.
    pub fn is(self, media_type: &str) -> Self {
        self.answered("Content-Type", media_type)
    }

    /// With a header field of the response.
    pub fn answered(mut self, name: &str, value: &str) -> Self {
        let response = self.0.exchange.response.as_mut().unwrap();
        response.headers.push(name, value);
        self
    }

    /// With this status of the response.
    pub fn status(mut self, code: u16, reason: &str) -> Self {
        let response = self.0.exchange.response.as_mut().unwrap();
        (response.status_code, response.reason) = (code, reason.into());
        self
    }

    /// As a redirect to this location.
    pub fn redirected(self, location: &str) -> Self {
        self.status(302, "Found").answered("Location", location)
    }

    fn info(&mut self) -> &mut ConnectionInfo {
        Arc::make_mut(&mut self.0.connection)
    }

    fn network(&mut self) -> &mut Network {
        self.info().network.get_or_insert_default()
    }

    /// Of another process.
    pub fn by(mut self, pid: u32, name: &str) -> Self {
        let process = Process { pid, name: name.into(), ..Process::default() };
        self.info().process = Some(Arc::new(process));
        self
    }

    /// As number `index` of this connection.
    pub fn on(mut self, cookie: u64, index: u64) -> Self {
        self.info().id = ConnectionId::of_socket(cookie, 0);
        self.0.exchange.index = index;
        self.0.exchange.reused = Some(index > 0);
        self.network().local.port = 40_000 + u16::try_from(cookie).unwrap();
        self
    }

    /// As the server's end records it, from a client at this address.
    pub fn at_server(mut self, client: [u8; 4]) -> Self {
        let network = self.network();
        network.local.address = client.into();
        (network.local, network.peer) = (network.peer, network.local);
        self.info().role = Some(Role::Server);
        self.by(812, "nginx")
    }

    /// Lasting so long, in milliseconds, all of it waiting.
    pub fn lasting(mut self, ms: u64) -> Self {
        let us = ms * 1_000;
        self.0.exchange.timing =
            Timing { wait_us: Some(us), receive_us: Some(0), total_us: us, ..self.0.exchange.timing };
        self
    }
}

/// The records of these exchanges.
pub fn recorded(exchanges: &[Exchange]) -> Vec<Http> {
    exchanges.iter().map(|exchange| exchange.0.clone()).collect()
}
