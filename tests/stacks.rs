//! Who opened a socket, who read its end, who used it last: functions and lines of programs in several languages, which
//! leak a connection in CLOSE_WAIT.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use tcp_trace_core::blame::Blame;
use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, Frame, Operation, Stack, Stacks, Use},
};
use tcp_trace_tests::{
    Folder, Recording, Running, Tracer, free_port, output,
    pool::{compile_c, compile_rust, line, source},
};

/// What a program did, and what was recorded of it while it was still there.
struct Run {
    pid: u32,
    /// The id that it printed: of the thread that used the leaked connections last.
    tid: u32,
    clients: Vec<Connection>,
    servers: Vec<Connection>,
    recording: Recording,
}

/// Runs a program that leaks this many connections, traced with these arguments.
fn run(mut program: Command, connections: usize, arguments: &[&str]) -> Run {
    let port = free_port().to_string();
    let tracer = Tracer::start(&[&["--port", &port][..], arguments].concat());
    program.args([&port, &connections.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Running::start(&mut program);
    let mut printed = String::new();
    let stdout = process.0.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut printed).expect("it prints a line");
    let leaked =
        output(Command::new("ss").args(["-Htn", "state", "close-wait", "dport", "=", &format!(":{port}")]));
    assert_eq!(String::from_utf8_lossy(&leaked.stdout).lines().count(), connections, "leaked connections");
    let recording = tracer.stop();
    let of = |role| -> Vec<_> {
        recording
            .connections()
            .filter(|connection| connection.connection.role == Some(role))
            .cloned()
            .collect()
    };
    let (clients, servers) = (of(Role::Client), of(Role::Server));
    assert_eq!((clients.len(), servers.len()), (connections, connections));
    let is_leaked = |client: &&Connection| {
        client.open && client.states.last().map(|span| span.state) == Some(State::CloseWait)
    };
    assert_eq!(clients.iter().filter(is_leaked).count(), connections);
    let tid = printed.trim().parse().unwrap_or_else(|error| panic!("{error}: {printed:?}"));
    Run { pid: process.pid(), tid, clients, servers, recording }
}

fn stacks(connection: &Connection) -> &Stacks {
    connection.stacks.as_ref().unwrap_or_else(|| panic!("no stacks: {connection:?}"))
}

fn stack(one: &Option<Use>) -> &Stack {
    let one = one.as_ref().expect("it was seen");
    one.stack.get().expect("what is read from a recording is resolved")
}

fn frame<'a>(stack: &'a Stack, function: &str) -> &'a Frame {
    let is_it = |frame: &&Frame| frame.function.as_deref().is_some_and(|name| name.ends_with(function));
    stack.frames.iter().find(is_it).unwrap_or_else(|| panic!("no frame of {function}: {stack:#?}"))
}

/// Checks that function, file and line are those of the source, and that they are to blame.
fn assert_line(one: &Option<Use>, name: &str, function: &str, remark: &str) {
    let (stack, line) = (stack(one), line(name, remark));
    let frame = frame(stack, function);
    let file = frame.file.as_ref().map(|file| String::from_utf8_lossy(&file.0).into_owned());
    assert!(file.as_deref().is_some_and(|file| file.ends_with(&format!("programs/{name}"))), "{frame:?}");
    assert_eq!(frame.line, Some(line), "{frame:?}");
    assert_eq!((&stack.missing, stack.truncated), (&None, false));
    let Blame::Line(blamed) = Blame::of(stack) else { panic!("nothing to blame: {stack:#?}") };
    assert_eq!((&blamed.function, blamed.line), (&frame.function, frame.line));
    assert!(Blame::of(stack).to_string().starts_with(&format!("{name}:{line} (")));
}

/// Checks all that there is of a program in a compiled language.
fn assert_lines(run: &Run, name: &str) {
    for client in &run.clients {
        let stacks = stacks(client);
        assert_line(&stacks.connect, name, "open_pool", "line of connect");
        assert_line(&stacks.eof, name, "read_to_the_end", "line of eof");
        assert_eq!(stacks.first_use, None, "it was seen from its start");
        let last_use = stacks.last_use.as_ref().expect("it was seen");
        assert_eq!((last_use.pid, last_use.tid, last_use.operation), (run.pid, run.tid, Operation::Read));
        for one in [&stacks.connect, &stacks.eof].into_iter().flatten() {
            assert_eq!((one.pid, one.tid), (run.pid, run.tid));
        }
    }
    for server in &run.servers {
        let stacks = stacks(server);
        assert_line(&stacks.first_use, name, "handle", "line of first use");
        assert_eq!((&stacks.connect, &stacks.eof), (&None, &None));
        let last_use = stacks.last_use.as_ref().expect("it was seen");
        assert_eq!((last_use.pid, last_use.tid, last_use.operation), (run.pid, run.pid, Operation::Write));
    }
}

#[test]
fn c_with_frame_pointers() {
    let folder = Folder::new();
    let program = compile_c(&folder, "pool.c", &["-g", "-O0", "-fno-omit-frame-pointer"]);
    assert_lines(&run(Command::new(program), 1, &["--stacks"]), "pool.c");
}

#[test]
fn optimised_c_without_frame_pointers() {
    let folder = Folder::new();
    let program = compile_c(&folder, "pool.c", &["-g", "-O2", "-fomit-frame-pointer"]);
    assert_lines(&run(Command::new(program), 1, &["--stacks"]), "pool.c");
}

#[test]
fn optimised_rust() {
    let (folder, name) = (Folder::new(), "pool.rs");
    let program = compile_rust(&folder, "pool.rs");
    assert_lines(&run(Command::new(program), 1, &["--stacks"]), name);
}

/// Above the first frames are the arguments and the environment: when these are short, the stack ends soon behind the frames. At
/// addresses that are not random it always ends as near to them.
#[test]
fn a_stack_that_ends_right_behind_its_first_frames_is_whole() {
    let (folder, name) = (Folder::new(), "pool.rs");
    let program = compile_rust(&folder, "pool.rs");
    let mut command = Command::new("setarch");
    command.args(["--addr-no-randomize", "env", "--ignore-environment"]).arg(program);
    assert_lines(&run(command, 1, &["--stacks"]), name);
}

#[test]
fn a_stripped_program_gives_what_addr2line_takes() {
    let folder = Folder::new();
    let whole = compile_c(&folder, "pool.c", &["-g", "-O2"]);
    let stripped = folder.file("stripped");
    output(Command::new("strip").arg("-o").arg(&stripped).arg(&whole));
    let run = run(Command::new(&stripped), 1, &["--stacks"]);
    let eof = stack(&stacks(&run.clients[0]).eof);
    let Blame::Line(blamed) = Blame::of(eof) else { panic!("nothing to blame: {eof:#?}") };
    assert_eq!(blamed.function, None, "nothing names it");
    assert_eq!(blamed.module.as_ref().map(|path| &*path.0), Some(stripped.as_os_str().as_encoded_bytes()));
    let called = blamed.offset.expect("it is in a module");
    let told = output(Command::new("addr2line").arg("-fse").arg(&whole).arg(format!("{called:#x}")));
    let expected = format!("read_to_the_end\npool.c:{}\n", line("pool.c", "line of eof"));
    assert_eq!(String::from_utf8_lossy(&told.stdout), expected);
}

#[test]
fn leaked_connections_of_one_place_have_equal_stacks() {
    const LEAKED: usize = 37;
    let folder = Folder::new();
    let program = compile_c(&folder, "pool.c", &["-g", "-O2"]);
    let run = run(Command::new(program), LEAKED, &["--stacks"]);
    assert_lines(&run, "pool.c");
    let first = stacks(&run.clients[0]);
    for client in &run.clients {
        assert_eq!(stack(&stacks(client).connect), stack(&first.connect));
        assert_eq!(stack(&stacks(client).eof), stack(&first.eof));
    }
    assert_ne!(stack(&first.connect), stack(&first.eof));
}

#[test]
fn an_interpreter_is_reported_as_one() {
    let mut python = Command::new("python3");
    python.arg(source("pool.py"));
    let run = run(python, 1, &["--stacks"]);
    let stacks = stacks(&run.clients[0]);
    for one in [&stacks.connect, &stacks.eof] {
        let blame = Blame::of(stack(one));
        assert!(matches!(blame, Blame::Interpreter(_)), "{blame}: {:#?}", stack(one));
    }
    assert_eq!(stacks.last_use.as_ref().map(|last_use| last_use.tid), Some(run.tid));
}

#[test]
fn stacks_are_recorded_only_on_request() {
    let folder = Folder::new();
    let program = compile_c(&folder, "pool.c", &["-g"]);
    let run = run(Command::new(program), 1, &[]);
    assert!(run.recording.connections().all(|connection| connection.stacks.is_none()));
    // Nor is it in the kernel: neither the program, nor any code of it in the others.
    let size = |arguments: &[&str]| {
        let tracer = Tracer::start(arguments);
        let programs = tracer.programs();
        drop(tracer);
        programs
    };
    let (without, with) = (size(&[]), size(&["--stacks"]));
    assert!(!without.contains_key("sock_recv_length") && with.contains_key("sock_recv_length"));
    assert!(without["inet_sock_set_state"] < with["inet_sock_set_state"], "{without:?} {with:?}");
}
