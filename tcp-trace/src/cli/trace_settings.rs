//! What is traced: the checked settings of `live` and `record`, and the command after `--`.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use rustix::io::Errno;
use tcp_trace_model::record::Filter;

use super::{CliError, args::Tracing};
use crate::{kernel::Options, session::Settings};

/// Where programs are looked for if `PATH` is not set (`_CS_PATH` of glibc).
const PATH: &str = "/bin:/usr/bin";

/// Checks what was typed; nothing has been attached or written yet.
pub(super) fn settings(
    arguments: &Tracing,
    settle: Duration,
    log: bool,
) -> Result<(Settings, Option<Command>), CliError> {
    let command = command(&arguments.command)?;
    let filter = Filter { followed: command.is_some(), ..arguments.filters.of_host()? };
    let filter = arguments.exchanges.add_to(filter);
    let settings = Settings {
        kernel: Options {
            ring_bytes: arguments.ring_size,
            follow_children: command.is_some(),
            log,
            stacks: arguments.stacks,
            tls: !arguments.no_tls,
        },
        filter,
        duration: arguments.duration,
        settle,
        follow_time_wait: true,
        show_secrets: arguments.show_secrets,
    };
    Ok((settings, command))
}

/// The command to follow. Looked up now, so that a typing error is reported before anything is traced.
fn command(words: &[OsString]) -> Result<Option<Command>, CliError> {
    let Some((program, arguments)) = words.split_first() else {
        // What was typed behind `--` may have been a variable with nothing in it: that does not ask for the whole host.
        return match env::args_os().next_back() {
            Some(last) if last == "--" => Err(CliError::usage("there is no command after --".to_owned())),
            _ => Ok(None),
        };
    };
    let path = find(program).map_err(|error| CliError::command(program.display(), &error))?;
    let mut command = Command::new(path);
    command.arg0(program).args(arguments);
    if let Some((uid, gid)) = invoking_user() {
        command.uid(uid).gid(gid);
    }
    Ok(Some(command))
}

/// The user who ran `sudo`, when root got here through it.
fn invoking_user() -> Option<(u32, u32)> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    let is_root = rustix::process::geteuid().is_root();
    if is_root { number("SUDO_UID").zip(number("SUDO_GID")) } else { None }
}

/// The file of a program, as `execvp()` looks for it.
fn find(program: &OsStr) -> io::Result<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        return executable(PathBuf::from(program));
    }
    let mut found = Err(io::ErrorKind::NotFound.into());
    let path = env::var_os("PATH").unwrap_or_else(|| PATH.into());
    for folder in env::split_paths(&path) {
        match executable(folder.join(program)) {
            Ok(path) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => found = Err(error),
            Err(_) => {}
        }
    }
    found
}

/// The same path, if it is a file that can be executed.
fn executable(path: PathBuf) -> io::Result<PathBuf> {
    let metadata = path.metadata()?;
    let is_executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    if is_executable { Ok(path) } else { Err(Errno::ACCESS.into()) }
}
