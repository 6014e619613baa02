//! Apache with a configuration of the test's own, and its access log.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{AccessLogLine, Folder, Running, nginx::json_lines, wait_for_listener, wait_for_pid_file};

/// Where Debian puts its modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// A running Apache with the event MPM.
#[derive(Debug)]
pub struct Apache {
    _process: Running,
    folder: Folder,
    port: u16,
}

impl Apache {
    /// Starts it on a port of IPv4's loopback. It has `/big`, `/text.txt`, which it compresses, and `/empty`.
    pub fn start(port: u16) -> Self {
        let folder = Folder::new();
        // The workers run as another user and have to reach the files.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(folder.path(), readable).expect("the folder is ours");
        fs::create_dir(folder.file("www")).expect("the folder is ours");
        for (name, content) in
            [("big", vec![b'x'; 1 << 20]), ("text.txt", "text ".repeat(2000).into_bytes()), ("empty", vec![])]
        {
            fs::write(folder.file("www").join(name), content).expect("the folder is ours");
        }
        fs::write(folder.file("apache.conf"), configuration(&folder, port)).expect("the folder is ours");
        let mut command = Command::new("apache2");
        command.arg("-f").arg(folder.file("apache.conf")).arg("-DFOREGROUND");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        wait_for_pid_file(&mut process, &command, &folder);
        wait_for_listener(Command::new("ss"), port, 1);
        Self { _process: process, folder, port }
    }

    /// A URL on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The access log, once it has this many lines.
    pub fn access_log(&self, lines: usize) -> Vec<AccessLogLine> {
        json_lines(&self.folder.file("access.log"), lines)
    }
}

/// The log leaves out %I, the bytes of a request: on a kept connection Apache now and then counts one byte of the next request
/// twice, which it has looked at before it was all there (84 and 85 were seen for the same request). curl's figure covers it.
fn configuration(folder: &Folder, port: u16) -> String {
    let path = folder.path().display();
    format!(
        r#"
ServerRoot {path}
DefaultRuntimeDir {path}
PidFile {path}/pid
Mutex file:{path}
ErrorLog {path}/error.log
ServerName localhost
Listen 127.0.0.1:{port}
LoadModule mpm_event_module {MODULES}/mod_mpm_event.so
LoadModule authz_core_module {MODULES}/mod_authz_core.so
LoadModule deflate_module {MODULES}/mod_deflate.so
User nobody
Group nogroup
StartServers 1
LogFormat "{{\"method\":\"%m\",\"uri\":\"%U%q\",\"status\":%>s,\"body_bytes_sent\":%B,\"bytes_sent\":%O,\
\"remote_port\":%{{remote}}p,\"pid\":%P}}" json
CustomLog {path}/access.log json
DocumentRoot {path}/www
<Location /text.txt>
    SetOutputFilter DEFLATE
</Location>
"#
    )
}
