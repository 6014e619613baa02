//! Many requests in short time, by a server and clients of the test's own in this process.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, channel},
    },
};

use rustix::net::sockopt;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server on loopback that answers every request with two bytes, until its clients are gone.
#[derive(Debug)]
pub struct Load {
    listener: TcpListener,
}

impl Load {
    /// Listens on a port of the kernel's choice.
    pub fn new() -> Self {
        Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had") }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }

    /// Makes `connections` connections one after another in each of `threads` threads, each with `requests`
    /// requests. The client resets each connection at its end, so that no port is left in TIME_WAIT.
    /// Returns how many requests were answered.
    pub fn run(&self, threads: u64, connections: u64, requests: u64) -> u64 {
        let answered = AtomicU64::new(0);
        let address = self.address();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                // A client ends its connection when one was accepted: those that wait to be accepted are never so many
                // that the kernel turns one away, which would be missed for ever.
                let (accepted, is_accepted) = channel();
                scope.spawn(move || {
                    for _ in 0..connections {
                        let (connection, _) = self.listener.accept().expect("a client comes");
                        accepted.send(()).expect("its client waits");
                        serve(connection).expect("a client asks until it is done");
                    }
                });
                let answered = &answered;
                scope.spawn(move || {
                    for _ in 0..connections {
                        ask(address, requests, &is_accepted).expect("the server answers");
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

fn ask(address: SocketAddr, requests: u64, is_accepted: &Receiver<()>) -> io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    sockopt::set_socket_linger(&connection, Some(std::time::Duration::ZERO))?;
    for request in 0..requests {
        connection.write_all(format!("GET /{request} HTTP/1.1\r\nHost: load\r\n\r\n").as_bytes())?;
        connection.read_exact(&mut [0; RESPONSE.len()])?;
    }
    is_accepted.recv().map_err(io::Error::other)?;
    Ok(())
}
