//! An HTTPS server, `server PORT CERTIFICATE KEY`, which prints of each request the client's port, the target, the version of HTTP and the bytes of
//! the response's body; and its clients, `client PORT COUNT http1|http2|std|moved`, each with a connection of its own: they print `ready`, and
//! then, for each line that they read, each makes a request, /NUMBER/LINE, and when all have the right answer they print `done`. With `http1` and
//! `http2` all run in one thread, as the server does; with `std` each has a thread and blocks in it; with `moved` one after the other is moved to
//! the same place, as out of a pool, makes its request there, and is moved back.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io::{BufRead as _, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What the server answers: of all sizes from one record to many.
fn answer(path: &str) -> String {
    let number: usize = path.split('/').nth(1).expect("it has a number").parse().expect("it is a number");
    format!("{path}\n").repeat(1 + number * number)
}

/// Whose certificate it is does not matter here.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client_config(protocol: &[u8]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

fn name() -> ServerName<'static> {
    ServerName::try_from("www.example.com").expect("it is a name")
}

async fn respond(request: Request<Incoming>, port: u16) -> Result<Response<Full<Bytes>>, Infallible> {
    let major = if request.version() == hyper::Version::HTTP_2 { 2 } else { 1 };
    let path = request.uri().path().to_owned();
    request.into_body().collect().await.expect("it has a body");
    let text = answer(&path);
    println!("{port} {path} {major} {}", text.len());
    Ok(Response::new(Full::new(Bytes::from(text))))
}

async fn serve(port: u16, certificate: &str, key: &str) {
    let certificates = CertificateDer::pem_file_iter(certificate).expect("it is a file");
    let certificates: Vec<_> = certificates.map(|one| one.expect("it is a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(key).expect("it is a key");
    let builder = ServerConfig::builder().with_no_client_auth();
    let mut config = builder.with_single_cert(certificates, key).expect("they belong together");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    loop {
        let (stream, peer) = listener.accept().await.expect("there are descriptors");
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await.expect("the client can do it");
            let service = service_fn(move |request| respond(request, peer.port()));
            let _ = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.serve_connection(TokioIo::new(stream), service).await
            } else {
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await
            };
        });
    }
}

enum Sender {
    Http1(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
}

async fn connect(port: u16, protocol: &str) -> Sender {
    let alpn: &[u8] = if protocol == "http2" { b"h2" } else { b"http/1.1" };
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let connector = TlsConnector::from(client_config(alpn));
    let stream = TokioIo::new(connector.connect(name(), stream).await.expect("the server can do it"));
    if protocol == "http2" {
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(stream).await.expect("it is open");
        tokio::spawn(connection);
        Sender::Http2(sender)
    } else {
        let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.expect("it is open");
        tokio::spawn(connection);
        Sender::Http1(sender)
    }
}

async fn request(mut sender: Sender, path: String) -> Sender {
    let uri = match sender {
        Sender::Http1(_) => path.clone(),
        Sender::Http2(_) => format!("https://www.example.com{path}"),
    };
    let request = Request::get(uri).header("host", "www.example.com").body(Empty::new()).expect("it is one");
    let response = match &mut sender {
        Sender::Http1(sender) => sender.send_request(request).await,
        Sender::Http2(sender) => sender.send_request(request).await,
    };
    let body = response.expect("there is one").into_body().collect().await.expect("it is whole").to_bytes();
    assert_eq!(body, answer(&path), "another answer: {path}");
    sender
}

/// All in this thread, at the same time.
async fn clients(port: u16, count: usize, protocol: &str) {
    let mut senders = Vec::new();
    for _ in 0..count {
        senders.push(connect(port, protocol).await);
    }
    println!("ready");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(tokio::io::stdin()));
    while let Some(line) = lines.next_line().await.expect("it is text") {
        let tasks: Vec<_> = senders
            .drain(..)
            .enumerate()
            .map(|(number, sender)| tokio::spawn(request(sender, format!("/{number}/{line}"))))
            .collect();
        for task in tasks {
            senders.push(task.await.expect("it has its answer"));
        }
        println!("done");
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn open(port: u16) -> Stream {
    let connection = ClientConnection::new(client_config(b"http/1.1"), name()).expect("it is a name");
    StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port)).expect("it listens"))
}

fn ask(stream: &mut Stream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is open");
    stream.flush().expect("it is open");
    let expected = format!("\r\n\r\n{}", answer(path));
    let (mut received, mut room) = (Vec::new(), [0; 8192]);
    while !received.ends_with(expected.as_bytes()) {
        let count = stream.read(&mut room).expect("it is open");
        assert_ne!(count, 0, "the server closed it");
        received.extend_from_slice(&room[..count]);
    }
}

/// Each in a thread of its own.
fn blocking(port: u16, count: usize) {
    let mut streams: Vec<_> = (0..count).map(|_| open(port)).collect();
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("it is text");
        std::thread::scope(|scope| {
            for (number, stream) in streams.iter_mut().enumerate() {
                let path = format!("/{number}/{line}");
                scope.spawn(move || ask(stream, &path));
            }
        });
        println!("done");
    }
}

/// One after the other at the same place.
fn moved(port: u16, count: usize) {
    let mut pool: VecDeque<_> = (0..count).map(|number| (number, open(port))).collect();
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("it is text");
        for _ in 0..count {
            let (number, mut stream) = pool.pop_front().expect("they are put back");
            ask(&mut stream, &format!("/{number}/{line}"));
            pool.push_back((number, stream));
        }
        println!("done");
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let port: u16 = arguments[2].parse().expect("it is a port");
    let mut builder = match std::env::var("THREADS").as_deref() {
        Ok("1") | Err(_) => tokio::runtime::Builder::new_current_thread(),
        Ok(_) => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().expect("there are threads");
    if arguments[1] == "server" {
        runtime.block_on(serve(port, &arguments[3], &arguments[4]));
        return;
    }
    let count: usize = arguments[3].parse().expect("it is a number");
    match arguments[4].as_str() {
        "std" => blocking(port, count),
        "moved" => moved(port, count),
        protocol => runtime.block_on(clients(port, count, protocol)),
    }
}
