//! Where a process runs: executable, cgroup, container.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use tcp_trace_model::{
    event::{Role, State},
    record::Record,
};
use tcp_trace_tests::{Cgroup, Nginx, Running, Tracer, free_port, output, wait_for};

/// Waits until this many clients were looked up.
fn wait_for_connects(tracer: &Tracer, count: usize) {
    let is_connect = |record: &&Record| matches!(record, Record::Transition(transition) if transition.new == State::SynSent);
    wait_for("the connects", || (tracer.records().iter().filter(is_connect).count() == count).then_some(()));
}

/// Ends the input of a process, which then ends by itself.
fn end(process: &mut Running) {
    drop(process.0.stdin.take());
    assert!(process.0.wait().expect("it can be waited for").success());
}

#[test]
fn executable_cgroup_and_container_of_a_client_are_reported() {
    let nginx = Nginx::start(free_port());
    let id = format!("{:064x}", 0x7cb0_u64 << 32 | u64::from(std::process::id()));
    let scope = format!("docker-{id}.scope");
    let cgroup = Cgroup::new(&scope);
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    let url = nginx.url("127.0.0.1", "/echo/x");
    let mut command = cgroup.command("curl");
    command.args(["--silent", "--output", "/dev/null", "-T", "-", &url]).stdin(Stdio::piped());
    let mut curl = Running::start(&mut command);
    wait_for_connects(&tracer, 1);
    end(&mut curl);
    tracer.wait_for_lines("http", 2);
    let recording = tracer.stop();
    let curl = recording.connections_of(Role::Client)[0];
    let executable = curl
        .connection
        .process
        .as_ref()
        .and_then(|process| process.executable.as_ref())
        .expect("it is recorded");
    let which = output(Command::new("sh").args(["-c", "readlink -f $(command -v curl)"]));
    assert_eq!(executable.printable().to_string(), String::from_utf8_lossy(&which.stdout).trim());
    assert_eq!(curl.cgroup.as_deref(), Some(format!("/{scope}").as_str()));
    let container = curl.container.as_ref().expect("the cgroup's name says it");
    assert_eq!((container.id.as_str(), container.runtime.as_deref()), (id.as_str(), Some("docker")));
    let server = recording.connections_of(Role::Server)[0];
    let executable = server.connection.process.as_ref().and_then(|process| process.executable.as_ref());
    assert!(executable.is_some_and(|path| path.printable().to_string().ends_with("/nginx")), "{server:?}");
    assert!(server.container.is_none(), "{server:?}");
}

#[test]
fn a_process_that_executes_another_program_is_known_by_the_new_one() {
    let nginx = Nginx::start(free_port());
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    // The same process connects as bash and then as curl. Either goes on when it has been looked at: curl with a body that
    // ends when its input does.
    let port = nginx.port();
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; exec 3>&-; read -r; exec curl --silent --output /dev/null -T - {}",
        nginx.url("127.0.0.1", "/echo/x")
    );
    let mut command = Command::new("bash");
    let mut bash = Running::start(command.args(["-c", &script]).stdin(Stdio::piped()));
    wait_for_connects(&tracer, 1);
    bash.0.stdin.as_mut().expect("it is piped").write_all(b"go on\n").expect("it reads");
    wait_for_connects(&tracer, 2);
    end(&mut bash);
    tracer.wait_for_lines("http", 2);
    let recording = tracer.stop();
    let clients = recording.connections_of(Role::Client);
    let names: Vec<_> = clients
        .iter()
        .map(|client| {
            let process = client.connection.process.as_ref().expect("a client's process is known");
            let executable = process.executable.as_ref().expect("it was there").printable().to_string();
            assert_eq!(process.pid, bash.pid());
            executable.rsplit('/').next().unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(names.iter().filter(|name| *name == "bash").count(), 1, "{names:?}");
    assert_eq!(names.iter().filter(|name| *name == "curl").count(), 1, "{names:?}");
}
