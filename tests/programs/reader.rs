//! What `reader.c` does, in Rust.

use std::{
    env,
    io::{self, Read},
    net::{TcpListener, TcpStream},
};

#[inline(never)]
fn read_some(stream: &mut TcpStream) -> usize {
    let mut buffer = [0; 4];
    stream.read(&mut buffer).unwrap_or(0) // line of read
}

#[inline(never)]
fn serve(stream: &mut TcpStream, all: bool) {
    let mut count = read_some(stream);
    while all && count > 0 {
        count = read_some(stream);
    }
}

fn main() {
    let port = env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    println!("listening");
    let (mut stream, _) = listener.accept().expect("a client connects");
    serve(&mut stream, env::args().len() > 2);
    let _ = io::stdin().read(&mut [0]);
}
