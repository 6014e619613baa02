//! The place of one test: a namespace, a port, the tracer and the kernel's own text of what happens there.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, connect, listen, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use crate::{
    KernelText, Namespace, PATIENCE, Recording, Tracer, Wire, WireAddresses, process::next_port,
    stay_on_one_cpu, wait_for,
};

/// A namespace in which one connection, or a few, live their lives, recorded and witnessed.
#[derive(Debug)]
pub struct Scene {
    /// Where everything happens.
    pub namespace: Namespace,
    /// The address of servers: the kernel's listener, or the scripted peer.
    pub server: SocketAddr,
    pub(crate) kernel: KernelText,
    pub(crate) tracer: Tracer,
}

impl Scene {
    /// A scene on loopback, with an IPv4 address that no other process of tests has.
    pub fn loopback() -> Self {
        let [_, b, c, d] = std::process::id().to_be_bytes();
        Self::at(Namespace::new(), Ipv4Addr::new(127, b, c, d).into())
    }

    /// A scene on loopback, with IPv6.
    pub fn loopback_ipv6() -> Self {
        Self::at(Namespace::new(), Ipv6Addr::LOCALHOST.into())
    }

    /// Ends the tracer and gives what it recorded, without comparing it with witnesses.
    pub fn stop(self) -> Recording {
        self.tracer.stop()
    }

    /// The same, in a namespace that was set up already.
    pub fn loopback_in(namespace: Namespace) -> Self {
        let [_, b, c, d] = std::process::id().to_be_bytes();
        Self::at(namespace, Ipv4Addr::new(127, b, c, d).into())
    }

    /// A scene at a wire, where the kernel's sockets are clients of a scripted server.
    pub fn wire_to_server(addresses: WireAddresses) -> (Self, Wire) {
        let namespace = Namespace::new();
        let wire = Wire::new(&namespace, addresses);
        (Self::at(namespace, addresses.remote), wire)
    }

    /// A scene at a wire, where the kernel's sockets are servers of scripted clients.
    pub fn wire_to_clients(addresses: WireAddresses) -> (Self, Wire) {
        let namespace = Namespace::new();
        let wire = Wire::new(&namespace, addresses);
        (Self::at(namespace, addresses.local), wire)
    }

    fn at(namespace: Namespace, server: IpAddr) -> Self {
        let port = next_port();
        let kernel = KernelText::start(port);
        let tracer = Tracer::start(&["--addr", &server.to_string(), "--port", &port.to_string()]);
        // The tracer may run anywhere. What it watches may not: lives end as the scene says, not by the answer to a
        // segment that another one overtook.
        stay_on_one_cpu();
        Self { namespace, server: (server, port).into(), kernel, tracer }
    }

    /// Listens at the server's address.
    pub fn listen(&self) -> TcpListener {
        self.namespace.run(|| TcpListener::bind(self.server)).expect("the port is this test's own")
    }

    /// Listens on the server's address and lets this many connections wait for `accept()`.
    pub fn listen_with_backlog(&self, backlog: i32) -> TcpListener {
        let socket = self.socket(SocketFlags::CLOEXEC);
        rustix::net::bind(&socket, &self.server).expect("the port is this test's own");
        listen(&socket, backlog).expect("a bound socket can listen");
        socket.into()
    }

    /// Connects to the server's address, which has a listener.
    pub fn connect(&self) -> TcpStream {
        let client = self.namespace.run(|| TcpStream::connect(self.server)).expect("a listener is there");
        with_patience(client)
    }

    /// A client and a server that are connected.
    pub fn pair(&self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = self.connect();
        (client, accept(listener))
    }

    /// Begins to connect to the server's address, without waiting. Reading, writing and closing wait.
    pub fn begin_to_connect(&self) -> TcpStream {
        let socket = self.socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        let begun = connect(&socket, &self.server);
        assert_eq!(begun, Err(Errno::INPROGRESS), "it does not wait");
        let client = TcpStream::from(socket);
        client.set_nonblocking(false).expect("a socket can wait");
        with_patience(client)
    }

    /// A TCP socket in the namespace.
    pub fn socket(&self, flags: SocketFlags) -> OwnedFd {
        let family = if self.server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let make = || socket_with(family, SocketType::STREAM, flags, None);
        self.namespace.run(make).expect("TCP sockets can be had")
    }

    /// Waits until `/proc/net/tcp` shows these states, in any order, of the sockets that have another end.
    pub fn wait_for_states(&self, expected: &[&str]) {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        wait_for(&format!("the states {expected:?}"), || {
            let mut states = self.namespace.states(self.server.port());
            states.sort_unstable();
            (states == expected).then_some(())
        });
    }
}

/// Accepts a connection that is there or comes soon.
pub fn accept(listener: &TcpListener) -> TcpStream {
    // A thread that waits for ever would keep the test from failing.
    set_socket_timeout(listener, Timeout::Recv, Some(PATIENCE)).expect("a socket has timeouts");
    let (server, _) = listener.accept().expect("a client comes");
    with_patience(server)
}

/// Without this a test that goes wrong waits for ever.
pub fn with_patience(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket has timeouts");
    stream
}
