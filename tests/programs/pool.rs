//! The same as `pool.c`, in Rust, with one connection.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
};

#[inline(never)]
fn open_pool(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap() // line of connect
}

#[inline(never)]
fn read_to_the_end(stream: &mut TcpStream) {
    let mut buffer = [0; 64];
    while stream.read(&mut buffer).unwrap() > 0 {} // line of eof
}

#[inline(never)]
fn handle(mut stream: TcpStream) {
    let mut buffer = [0; 4];
    stream.read_exact(&mut buffer).unwrap(); // line of first use
    stream.write_all(&buffer).unwrap();
}

fn main() {
    let port = std::env::args().nth(1).unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut client = open_pool(port);
    client.write_all(b"ping").unwrap();
    handle(listener.accept().unwrap().0);
    read_to_the_end(&mut client);
    println!("{}", std::process::id());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
