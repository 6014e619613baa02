//! A DNS server of a test's own, and a resolver's configuration that leads to it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use tcp_trace_model::record::Transport;

use crate::{Folder, Namespace};

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
/// An answer to a recursive question.
const ANSWER: u16 = 0x8180;
/// What is behind does not fit.
const TRUNCATED: u16 = 0x0200;
/// A pointer to the question's name.
const NAME: &[u8] = &[0xc0, 12];

/// The queries to the server, in order.
pub type Asked = (Transport, String, &'static str);

/// A server on port 53 of a namespace's loopback, 127.0.0.1 and ::1. It knows these names below `test`: `web` and
/// `alias` (a CNAME of `web`) are 127.0.0.1, `far` and `www.far` (a CNAME of `far`) are 10.98.2.2, `six` is ::1, `long`
/// is truncated by UDP, `broken` and `refused` fail, `silent` is not answered; others do not exist.
#[derive(Debug)]
pub struct DnsServer {
    asked: Arc<Mutex<Vec<Asked>>>,
    folder: Folder,
}

impl DnsServer {
    /// Starts it. Its threads end with the test's process.
    pub fn start(namespace: &Namespace) -> Self {
        let asked = Arc::default();
        for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let at = SocketAddr::new(address, 53);
            let make = || (UdpSocket::bind(at), TcpListener::bind(at));
            let (udp, tcp) = namespace.run(make);
            let (udp, tcp) = (udp.expect("port 53 is free"), tcp.expect("port 53 is free"));
            let (of_udp, of_tcp) = (Arc::clone(&asked), Arc::clone(&asked));
            thread::spawn(move || serve_udp(&udp, &of_udp));
            thread::spawn(move || serve_tcp(&tcp, &of_tcp));
        }
        let folder = Folder::new();
        let text = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
        fs::write(folder.file("resolv.conf"), text).expect("the folder is ours");
        Self { asked, folder }
    }

    /// Its queries so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panics with it").clone()
    }

    /// A command in the namespace that asks this server for names, in a process with the id of the one that is
    /// started.
    pub fn client(&self, namespace: &Namespace, program: &str) -> Command {
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(self.folder.file("resolv.conf")).arg(program);
        command
    }
}

fn serve_udp(socket: &UdpSocket, asked: &Mutex<Vec<Asked>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if let Some(answer) = answer(&buffer[..length], Transport::Udp, asked) {
            // A client that has gone asks no more.
            let _ = socket.send_to(&answer, client);
        }
    }
}

fn serve_tcp(listener: &TcpListener, asked: &Mutex<Vec<Asked>>) {
    while let Ok((client, _)) = listener.accept() {
        // A client that closes has what it wants.
        let _ = serve_stream(client, asked);
    }
}

fn serve_stream(mut client: TcpStream, asked: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        client.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        client.read_exact(&mut question)?;
        if let Some(answer) = answer(&question, Transport::Tcp, asked) {
            let length = u16::try_from(answer.len()).expect("answers are short").to_be_bytes();
            client.write_all(&[length.as_slice(), &answer].concat())?;
        }
    }
}

/// The answer to a question, which is noted; `None` when there is to be none.
fn answer(question: &[u8], transport: Transport, asked: &Mutex<Vec<Asked>>) -> Option<Vec<u8>> {
    let labels = question.get(12..)?;
    let end = labels.iter().position(|byte| *byte == 0)?;
    let name = text(&labels[..end]);
    let section = labels.get(..end + 5)?;
    let kind = u16::from_be_bytes([section[end + 1], section[end + 2]]);
    let kind_name = match kind {
        A => "A",
        AAAA => "AAAA",
        _ => "other",
    };
    asked.lock().expect("no thread panics with it").push((transport, name.clone(), kind_name));
    let (localhost, web) = ([127, 0, 0, 1], b"\x03web\x04test\0");
    let (far, far_address) = (b"\x03far\x04test\0", [10, 98, 2, 2]);
    let v4 = |name: &[u8]| record(name, A, &localhost);
    let (flags, answers) = match (name.as_str(), kind) {
        ("silent.test", _) => return None,
        ("web.test", A) => (ANSWER, vec![v4(NAME)]),
        ("long.test", A) if transport == Transport::Tcp => (ANSWER, vec![v4(NAME); 40]),
        ("long.test", A) => (ANSWER | TRUNCATED, vec![]),
        ("alias.test", A) => (ANSWER, vec![record(NAME, CNAME, web), v4(web)]),
        ("far.test", A) => (ANSWER, vec![record(NAME, A, &far_address)]),
        ("www.far.test", A) => (ANSWER, vec![record(NAME, CNAME, far), record(far, A, &far_address)]),
        ("www.far.test", AAAA) => (ANSWER, vec![record(NAME, CNAME, far)]),
        ("alias.test", AAAA) => (ANSWER, vec![record(NAME, CNAME, web)]),
        ("six.test", AAAA) => (ANSWER, vec![record(NAME, AAAA, &Ipv6Addr::LOCALHOST.octets())]),
        ("web.test" | "far.test" | "long.test" | "six.test", _) => (ANSWER, vec![]),
        ("broken.test", _) => (ANSWER | 2, vec![]),
        ("refused.test", _) => (ANSWER | 5, vec![]),
        _ => (ANSWER | 3, vec![]),
    };
    let count = u16::try_from(answers.len()).expect("there are few").to_be_bytes();
    let head = [&question[..2], &flags.to_be_bytes(), &[0, 1], &count, &[0; 4]].concat();
    Some([head, section.to_vec(), answers.concat()].concat())
}

fn record(name: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("data is short").to_be_bytes();
    [name, &kind.to_be_bytes(), &[0, 1, 0, 0, 1, 44], &length, data].concat()
}

/// Labels with their lengths as a name.
fn text(mut labels: &[u8]) -> String {
    let mut names = Vec::new();
    while let Some((length, rest)) = labels.split_first() {
        let (label, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        names.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        labels = rest;
    }
    names.join(".")
}
