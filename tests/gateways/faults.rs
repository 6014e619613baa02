//! The servers behind the gateways, each with a fault of its own, and what they did.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use tcp_trace_tests::{PATIENCE, free_port};

/// For longer than any gateway here waits for a response: lighttpd's clock has whole seconds.
const SLOW: Duration = Duration::from_secs(6);

/// What a server does with a request that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Closes.
    Closes,
    /// Writes a part of a head and closes.
    Cuts,
    /// Writes nothing until the gateway is gone.
    Silent,
    /// Answers when the gateway has given up.
    Slow,
    /// Answers.
    Fine,
}

/// Names of the servers that listen and accept, and what they do.
const SERVERS: [(&str, Fault); 5] = [
    ("closing", Fault::Closes),
    ("cutting", Fault::Cuts),
    ("silent", Fault::Silent),
    ("slow", Fault::Slow),
    ("fine", Fault::Fine),
];

/// All servers, each on a port of its own.
pub(crate) struct Servers {
    ports: BTreeMap<&'static str, u16>,
    /// The port of each request that one has read.
    requests: Arc<Mutex<Vec<u16>>>,
    listeners: Vec<(TcpListener, JoinHandle<()>)>,
    /// A listener whose queue is full, and whose place in it.
    _full: (TcpListener, TcpStream),
}

impl Servers {
    /// Starts them in the network namespace of this thread.
    pub(crate) fn start() -> Self {
        let listen = || TcpListener::bind(("127.0.0.1", free_port())).expect("the port is free");
        let port_of = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
        let full = listen();
        // A queue for one connection, which is never accepted.
        rustix::net::listen(&full, 0).expect("it listens");
        let waiting = TcpStream::connect(("127.0.0.1", port_of(&full))).expect("there is room for one");
        let mut ports = ["refused", "dead", "gone"]
            .map(|name| (name, free_port()))
            .into_iter()
            .collect::<BTreeMap<_, _>>();
        ports.insert("full", port_of(&full));
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let mut listeners = Vec::new();
        for (name, fault) in SERVERS {
            let listener = listen();
            ports.insert(name, port_of(&listener));
            let (accepting, requests) =
                (listener.try_clone().expect("there are descriptors"), requests.clone());
            listeners.push((listener, thread::spawn(move || accept_all(&accepting, fault, &requests))));
        }
        Self { ports, requests, listeners, _full: (full, waiting) }
    }

    /// The port of each server, by its name.
    pub(crate) fn ports(&self) -> &BTreeMap<&'static str, u16> {
        &self.ports
    }

    /// Whether a server of this name reads requests.
    pub(crate) fn reads(&self, name: &str) -> bool {
        SERVERS.iter().any(|(server, _)| *server == name)
    }

    /// How many requests a server has read.
    pub(crate) fn requests_of(&self, name: &str) -> usize {
        let port = self.ports[name];
        self.requests.lock().expect("no thread panics with it").iter().filter(|of| **of == port).count()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for (listener, thread) in self.listeners.drain(..) {
            // This ends its accept().
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
            let _ = thread.join();
        }
    }
}

fn accept_all(listener: &TcpListener, fault: Fault, requests: &Arc<Mutex<Vec<u16>>>) {
    while let Ok((connection, _)) = listener.accept() {
        let requests = requests.clone();
        thread::spawn(move || serve(connection, fault, &requests));
    }
}

/// Serves a connection until it ends. Gateways end connections as they like.
fn serve(mut connection: TcpStream, fault: Fault, requests: &Mutex<Vec<u16>>) -> Option<()> {
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    let port = connection.local_addr().ok()?.port();
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut bytes = [0; 4096];
            let length = connection.read(&mut bytes).ok().filter(|length| *length > 0)?;
            request.extend_from_slice(&bytes[..length]);
        }
        requests.lock().expect("no thread panics with it").push(port);
        let answer: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
        match fault {
            Fault::Closes => return None,
            Fault::Cuts => {
                connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").ok()?;
                connection.shutdown(Shutdown::Write).ok()?;
                // What the gateway says then is of no interest, but must not be unread at the close.
                while connection.read(&mut [0; 4096]).ok()? > 0 {}
                return None;
            }
            Fault::Silent => {}
            Fault::Slow => {
                thread::sleep(SLOW);
                connection.write_all(answer).ok()?;
            }
            Fault::Fine => connection.write_all(answer).ok()?,
        }
    }
}
