//! TLS as it passes on the wire, compared with what OpenSSL says of it at both ends and with what tshark dissects.

mod burst;
mod capture;
mod event_loops;
mod failures;
mod gateway;
mod go;
mod grpc;
mod nghttp2;
mod openssl;
mod peers;
mod plaintext;
mod rounds;
mod rustls;
mod sessions;

use std::fs;

use tcp_trace_model::{
    event::Role,
    record::{Record, Tls, TlsHandshake},
};
use tcp_trace_tests::{Diagnosis, Folder, Namespace, Recording, Tracer, free_port, tcp_trace};

use self::{
    capture::{Capture, Packet},
    openssl::{Certificate, Client, Server},
};

/// A session that was traced.
struct Seen {
    recording: Recording,
    /// What tshark dissected of it.
    packets: Vec<Packet>,
    /// What the client said.
    client: String,
    /// What `diagnose` finds in the recording.
    diagnosis: Diagnosis,
    /// Whether it was content.
    is_success: bool,
}

impl Seen {
    /// The handshake as an end of the last connection saw it.
    fn handshake(&self, role: Role) -> &Tls {
        let of = |record: &&Record| matches!(record, Record::Tls(tls) if tls.connection.role == Some(role));
        let last = self.recording.records.iter().rfind(of);
        match last {
            Some(Record::Tls(TlsHandshake { tls, .. })) => tls,
            _ => panic!("{role:?} has no handshake: {}", self.client),
        }
    }

    /// What the summary of an end's last connection says.
    fn summary(&self, role: Role) -> &Tls {
        let connections = self.recording.connections_of(role);
        let tls = connections.iter().rev().find_map(|connection| connection.tls.as_deref());
        tls.unwrap_or_else(|| panic!("{role:?} has no TLS: {}", self.client))
    }

    /// Both ends.
    fn handshakes(&self) -> [(&'static str, &Tls); 2] {
        [("client", self.handshake(Role::Client)), ("server", self.handshake(Role::Server))]
    }

    /// The alerts in the clear that tshark saw: by which end, and which.
    fn alerts(&self) -> Vec<(bool, &str)> {
        self.packets
            .iter()
            .flat_map(|packet| packet.alerts.iter().map(|alert| (packet.is_client, &**alert)))
            .collect()
    }
}

/// Runs clients of OpenSSL one after the other against its server, which both get their arguments.
fn session(certificate: &Certificate, server: &[&str], clients: &[&[&str]]) -> Seen {
    let namespace = Namespace::new();
    let port = free_port();
    let _server = Server::start(&namespace, port, certificate, server);
    let capture = Capture::start(&namespace, port);
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let mut last = None;
    for arguments in clients {
        last = Some(Client::run(&namespace, port, certificate, arguments));
    }
    let Client { said, is_success } = last.expect("there is a client");
    tracer.wait_for_lines("tls", 2 * clients.len());
    tracer.wait_for_closed();
    let (recording, text) = tracer.stop_with_text();
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    fs::write(&file, text).expect("the folder is ours");
    let diagnosis = Diagnosis::with(tcp_trace(), &["--from", file.to_str().expect("the path is text")]);
    assert_eq!(recording.end.lost, 0);
    assert_eq!(recording.end.tls as usize, 2 * clients.len());
    Seen { recording, packets: capture.end(), client: said, diagnosis, is_success }
}
