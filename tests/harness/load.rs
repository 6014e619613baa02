//! Many requests in short time, by a server and clients of the test's own in this process.

use std::{
    collections::HashSet,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::net::sockopt::{self, Timeout};

use crate::PATIENCE;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server on loopback that answers every request with two bytes, until its clients are gone.
#[derive(Debug)]
pub struct Load {
    listener: TcpListener,
}

impl Load {
    /// Listens on a port of the kernel's choice.
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
        // A thread that waits for ever would keep a test from failing.
        sockopt::set_socket_timeout(&listener, Timeout::Recv, Some(PATIENCE)).expect("a socket has timeouts");
        Self { listener }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }

    /// Makes `connections` connections one after another in each of `threads` threads, each with `requests`
    /// requests. The client resets each connection at its end, so that no port is left in TIME_WAIT.
    /// Returns how many requests were answered.
    pub fn run(&self, threads: u64, connections: u64, requests: u64) -> u64 {
        let (answered, accepted) = (AtomicU64::new(0), Accepted::default());
        let address = self.address();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let (accepted, answered) = (&accepted, &answered);
                scope.spawn(move || {
                    for _ in 0..connections {
                        let (connection, client) = self.listener.accept().expect("a client comes");
                        accepted.add(client);
                        serve(connection).expect("a client asks until it is done");
                    }
                });
                scope.spawn(move || {
                    for _ in 0..connections {
                        ask(address, requests, accepted).expect("the server answers");
                        answered.fetch_add(requests, Ordering::Relaxed);
                    }
                });
            }
        });
        answered.into_inner()
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

/// Clients whose connections were accepted and are not ended yet. A client ends its connection only when it is among them:
/// those that wait to be accepted are never so many that the kernel turns one away, and no RST overtakes the ACK of its
/// handshake. Either would be missed for ever.
#[derive(Default)]
struct Accepted {
    clients: Mutex<HashSet<SocketAddr>>,
    is_more: Condvar,
}

impl Accepted {
    fn add(&self, client: SocketAddr) {
        self.clients.lock().expect("no thread panics with it").insert(client);
        self.is_more.notify_all();
    }

    fn wait_for(&self, client: SocketAddr) {
        let clients = self.clients.lock().expect("no thread panics with it");
        let is_missing = |clients: &mut HashSet<SocketAddr>| !clients.remove(&client);
        let waited = self.is_more.wait_timeout_while(clients, PATIENCE, is_missing);
        let has_timed_out = waited.expect("no thread panics with it").1.timed_out();
        assert!(!has_timed_out, "{client} is not accepted");
    }
}

fn serve(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut request = [0; 1024];
    loop {
        match connection.read(&mut request) {
            Ok(0) => return Ok(()),
            // A client sends a request only when it has read the last response: one read is one request.
            Ok(_) => connection.write_all(RESPONSE)?,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn ask(address: SocketAddr, requests: u64, accepted: &Accepted) -> io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    sockopt::set_socket_linger(&connection, Some(std::time::Duration::ZERO))?;
    for request in 0..requests {
        connection.write_all(format!("GET /{request} HTTP/1.1\r\nHost: load\r\n\r\n").as_bytes())?;
        connection.read_exact(&mut [0; RESPONSE.len()])?;
    }
    accepted.wait_for(connection.local_addr()?);
    Ok(())
}
