//! The program under test as a user who may do nothing.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use crate::{Folder, output, tcp_trace};

/// The program's command line, as nobody and without any capability. `folder` becomes readable for everybody, and
/// the program is copied there: where it was built nobody need have access.
pub fn unprivileged(folder: &Folder) -> Command {
    let copy = folder.file("tcp-trace");
    if !copy.exists() {
        // A program cannot be run while it is open for writing: another process writes it, whose descriptor no child of
        // this one can have copied.
        output(Command::new("cp").arg(tcp_trace().get_program()).arg(&copy));
        for path in [folder.path(), &copy] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
        }
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--no-new-privs",
    ]);
    command.arg(copy);
    command
}
