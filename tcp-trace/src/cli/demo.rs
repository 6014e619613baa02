//! `demo`: one real HTTP request between two processes, and its ladder.
//!
//! The traced part runs as a command that is followed, like any after `--`: `demo-pair` starts the server
//! and then the client, which are this program again.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use tcp_trace_model::record::Filter;

use super::{
    CliError,
    args::{Demo, Format, Printing},
    output::{self, Style},
};
use crate::{
    kernel::{Options, RING_BYTES_DEFAULT},
    session::{self, Settings},
};

const BODY: &str = "Hello, TCP!\n";
const TITLE: &str = "\
One HTTP request over loopback, as the kernel saw it at both ends.
x and y are the initial sequence numbers; `after`: time in the previous state.

";

/// The verb.
pub(super) fn run(arguments: &Demo, log: bool) -> Result<ExitCode, CliError> {
    let settings = Settings {
        kernel: Options {
            ring_bytes: RING_BYTES_DEFAULT,
            follow_children: true,
            log,
            stacks: false,
            tls: false,
        },
        filter: Filter { followed: true, ..Filter::default() },
        duration: None,
        settle: Duration::ZERO,
        follow_time_wait: true,
        show_secrets: false,
    };
    let command = this_program("demo-pair").map_err(|error| failed(&error))?;
    let printing = Printing { format: Format::Ladder, times: arguments.times, colour: arguments.colour };
    let mut ladder = Style::of_stdout(&printing).ladder(io::stdout().lock()).titled(TITLE);
    session::run(settings, Some(command), &mut ladder, None)
        .map_err(|error| CliError::session(error, output::NAME))
}

/// Starts the server, then the client, and waits for both.
pub(super) fn pair() -> Result<ExitCode, CliError> {
    try_pair().map(|()| ExitCode::SUCCESS).map_err(|error| failed(&error))
}

/// Answers one request on a port of the kernel's choice, which it prints.
pub(super) fn server() -> Result<ExitCode, CliError> {
    try_server().map(|()| ExitCode::SUCCESS).map_err(|error| failed(&error))
}

/// Sends one request and reads the response.
pub(super) fn client(server: SocketAddr) -> Result<ExitCode, CliError> {
    try_client(server).map(|()| ExitCode::SUCCESS).map_err(|error| failed(&error))
}

fn failed(error: &io::Error) -> CliError {
    CliError::io("the demonstration failed", error)
}

fn this_program(verb: &str) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(verb);
    Ok(command)
}

fn try_pair() -> io::Result<()> {
    let mut server = this_program("demo-server")?.stdout(Stdio::piped()).spawn()?;
    let output = server.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut address = String::new();
    BufReader::new(output).read_line(&mut address)?;
    let client = this_program("demo-client")?.arg(address.trim()).status()?;
    let server = server.wait()?;
    if client.success() && server.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("client: {client}, server: {server}")))
    }
}

fn try_server() -> io::Result<()> {
    set_name("demo-server")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let (mut connection, _) = listener.accept()?;
    read_head(&mut connection)?;
    let length = BODY.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
    connection.write_all(format!("{head}{BODY}").as_bytes())?;
    // Until the client closes: then the client's end has the TIME_WAIT, as usual.
    connection.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn try_client(server: SocketAddr) -> io::Result<()> {
    set_name("demo-client")?;
    let mut connection = TcpStream::connect(server)?;
    let request = format!("GET /hello HTTP/1.1\r\nHost: {server}\r\nUser-Agent: tcp-trace\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    read_head(&mut connection)?;
    connection.read_exact(&mut [0; BODY.len()])?;
    connection.shutdown(Shutdown::Write)?;
    // Until the server has closed too: only then are all four steps of the close over.
    connection.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Reads up to and with the empty line, byte by byte: nothing behind it may be consumed.
fn read_head(connection: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(())
}

/// Names the process, so that each line of the ladder shows which it is.
fn set_name(name: &str) -> io::Result<()> {
    fs::write("/proc/self/comm", name)
}
