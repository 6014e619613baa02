//! What cannot work is reported in one clear line, with the exit code of its kind, and nothing is traced.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use tcp_trace_tests::{Folder, output, tcp_trace, unprivileged};

/// Runs it; it must fail with `code`, one line on stderr that contains each of `words`, and nothing on stdout.
#[track_caller]
fn fails(command: &mut Command, code: i32, words: &[&str]) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("it can be started");
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(code), "{command:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{command:?}: {stderr}");
    assert!(stdout.is_empty(), "{command:?}: {}", String::from_utf8_lossy(&stdout));
    for word in words {
        assert!(stderr.contains(word), "{command:?}: no {word:?} in: {stderr}");
    }
}

fn with(arguments: &[&str]) -> Command {
    let mut command = tcp_trace();
    command.args(arguments);
    command
}

#[test]
fn without_privileges_the_capabilities_are_named() {
    let folder = Folder::new();
    fs::create_dir(folder.file("out")).expect("the folder is ours");
    fs::set_permissions(folder.file("out"), fs::Permissions::from_mode(0o777)).expect("the folder is ours");
    let file = folder.file("out/recording.jsonl");
    let verbs: [&[&OsStr]; 3] =
        [&["live".as_ref()], &["demo".as_ref()], &["record".as_ref(), "-o".as_ref(), file.as_os_str()]];
    for verb in verbs {
        let mut command = unprivileged(&folder);
        command.args(verb);
        let output = command.output().expect("setpriv can be started");
        assert_eq!(output.status.code(), Some(3), "{verb:?}");
        fails(&mut command, 3, &["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
    }
    assert!(!file.exists(), "no empty recording is left behind");
}

/// The program in a mount namespace of its own, after `setup`.
fn in_mount_namespace(setup: &str, arguments: &str) -> Command {
    let program = tcp_trace().get_program().to_owned();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{setup} && exec \"$0\" {arguments}")]).arg(program);
    command
}

#[test]
fn without_btf_the_kernels_lack_is_named() {
    let no_btf = "mount -t tmpfs none /sys/kernel/btf";
    fails(&mut in_mount_namespace(no_btf, "live"), 4, &["BTF", "CONFIG_DEBUG_INFO_BTF"]);
    fails(
        &mut in_mount_namespace(
            "mount -t tmpfs none /sys/kernel/btf && echo x > /sys/kernel/btf/vmlinux",
            "live",
        ),
        4,
        &["BTF"],
    );
}

#[test]
fn a_recording_that_was_there_stays_when_tracing_cannot_start() {
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    fs::write(&file, "an earlier recording\n").expect("the folder is ours");
    let record = format!("record -o {}", file.display());
    fails(&mut in_mount_namespace("mount -t tmpfs none /sys/kernel/btf", &record), 4, &["BTF"]);
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "an earlier recording\n");
    let new = folder.file("new");
    for verb in ["record", "live"] {
        let line = format!("{verb} -o {}", new.display());
        fails(&mut in_mount_namespace("mount -t tmpfs none /sys/kernel/btf", &line), 4, &["BTF"]);
        assert!(!new.exists(), "{verb} leaves no empty file behind");
    }
}

#[test]
fn cgroups_need_not_be_mounted() {
    let unmount = "umount --all --types cgroup2 && ! grep -q cgroup2 /proc/self/mounts";
    output(&mut in_mount_namespace(unmount, "live --duration 100ms --port 1"));
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    for file in
        [folder.path().to_owned(), folder.file("missing/recording.jsonl"), "/proc/recording.jsonl".into()]
    {
        let name = file.display().to_string();
        fails(&mut with(&["record", "-o", &name]), 5, &["cannot write", &name]);
    }
}

#[test]
fn a_full_disk_is_named_before_anything_begins() {
    let folder = Folder::new();
    let marker = folder.file("begun");
    let touch = marker.display().to_string();
    for arguments in [&["--duration", "5s"][..], &["--", "touch", &touch]] {
        let mut command = with(&["record", "-o", "/dev/full"]);
        fails(command.args(arguments), 5, &["cannot write /dev/full", "No space left"]);
    }
    assert!(!marker.exists());
}

#[test]
fn what_makes_no_sense_is_reported_before_anything_is_traced() {
    let folder = Folder::new();
    let file = folder.file("recording.jsonl").display().to_string();
    for (arguments, words) in [
        (&["--port", "0"][..], &["--port", "from 1 to 65535"][..]),
        (&["curl", "http://127.0.0.1/"], &["'curl'", "after two dashes: -- curl"]),
        (&["--port", "http"], &["--port", "http"]),
        (&["--pid", "-1"], &["-1"]),
        (&["--addr", "10.0.0.0/33"], &["--addr", "10.0.0.0/8"]),
        (&["--comm", ""], &["--comm"]),
        (&["--duration", "soon"], &["--duration", "30s"]),
        (&["--ring-size", "5000"], &["--ring-size", "power of two"]),
        (&["--no-such-option"], &["--no-such-option"]),
    ] {
        let mut command = with(&["record", "-o", &file]);
        fails(command.args(arguments), 2, words);
        assert!(!folder.file("recording.jsonl").exists(), "{arguments:?}");
    }
    fails(&mut with(&["record"]), 2, &["--output"]);
    fails(&mut with(&["no-such-verb"]), 2, &["no-such-verb"]);
    fails(&mut with(&["live", "--format", "tabel"]), 2, &["table, ladder, jsonl", "did you mean table?"]);
}

/// As shells and env do it.
#[test]
fn a_command_that_cannot_be_run_is_reported_by_its_exit_code() {
    let folder = Folder::new();
    let file = folder.file("recording.jsonl").display().to_string();
    for (command, code, words) in [
        ("no-such-command", 127, "no such command"),
        ("/no/such/command", 127, "no such command"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/etc", 126, "Permission denied"),
    ] {
        fails(&mut with(&["record", "-o", &file, "--", command]), code, &[command, words]);
        assert!(!folder.file("recording.jsonl").exists(), "{command:?}");
    }
    // Only the kernel's attempt to run it shows it, once tracing has begun.
    let (text, script) = (folder.file("text"), folder.file("script"));
    fs::write(&text, "#!/no/such/interpreter\n").expect("the folder is ours");
    // What this process has open for writing, a child on its way to exec may still have open: such a file cannot be run.
    output(Command::new("cp").args([&text, &script]));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    let script = script.display().to_string();
    let words = [script.as_str(), ": its interpreter or loader does not exist"];
    fails(&mut with(&["record", "-o", &file, "--", &script]), 127, &words);
}

#[test]
fn a_recording_is_for_its_owner_only() {
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    fs::write(&file, "something else").expect("the folder is ours");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("the folder is ours");
    let name = file.display().to_string();
    output(&mut with(&["record", "-o", &name, "--duration", "100ms", "--port", "1"]));
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
