//! Which functions used a connection, on every kernel: those of the test itself, by the names of its symbols.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use tcp_trace_model::{
    event::Role,
    record::{Connection, LastUse, Use},
};
use tcp_trace_tests::{Tracer, accept, free_port};

#[inline(never)]
fn open_pool(server: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(server);
    std::hint::black_box(client).expect("a listener is there")
}

#[inline(never)]
fn handle(mut server: TcpStream) {
    let read = server.read_exact(&mut [0; 4]);
    std::hint::black_box(read).expect("four bytes come");
}

#[inline(never)]
fn read_to_the_end(client: &mut TcpStream) {
    let read = client.read(&mut [0; 4]);
    assert_eq!(std::hint::black_box(read).expect("the end comes"), 0);
}

fn assert_in(one: &Option<Use>, function: &str) {
    let one = one.as_ref().unwrap_or_else(|| panic!("nothing of {function}"));
    let stack = one.stack.get().expect("what is read from a recording is resolved");
    let is_it =
        stack.frames.iter().filter_map(|frame| frame.function.as_ref()).any(|name| name.ends_with(function));
    assert!(is_it, "no frame of {function}: {stack:#?}");
    assert_eq!((one.pid, one.tid), (std::process::id(), thread_id()));
}

fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

#[test]
fn loopback_stacks_name_the_functions_that_used_a_connection() {
    let server = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let tracer = Tracer::start(&["--stacks", "--port", &server.port().to_string()]);
    let listener = TcpListener::bind(server).expect("the port is this test's own");
    let mut client = open_pool(server);
    let accepted = accept(&listener);
    client.write_all(b"ping").expect("it is connected");
    handle(accepted);
    read_to_the_end(&mut client);
    let recording = tracer.stop();
    drop(client);
    let of = |role| -> &Connection {
        recording
            .connections()
            .find(|connection| connection.connection.role == Some(role))
            .expect("it was recorded")
    };
    let of_client = of(Role::Client).stacks.as_ref().expect("they were requested");
    let of_server = of(Role::Server).stacks.as_ref().expect("they were requested");
    assert_in(&of_client.connect, "open_pool");
    assert_in(&of_server.first_use, "handle");
    let thread = |last_use: &Option<LastUse>| last_use.as_ref().map(|last_use| (last_use.pid, last_use.tid));
    let this = Some((std::process::id(), thread_id()));
    assert_eq!(thread(&of_server.last_use), this);
    let missing =
        |name: &str| recording.session.missing.iter().any(|missing| missing.feature.ends_with(name));
    if missing("sock_recv_length") {
        // The client wrote, and read nothing: no tracepoint of such a kernel reports either.
        assert_eq!((&of_client.eof, &of_client.last_use), (&None, &None));
    } else {
        assert_in(&of_client.eof, "read_to_the_end");
        assert_eq!(thread(&of_client.last_use), this);
    }
}
