//! The server under load: nginx with one worker, without a log.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use tcp_trace_tests::{Folder, Running, free_port, wait_for_listener, wait_for_pid_file};

use crate::tool::printed;

/// A running nginx.
pub(crate) struct Server {
    process: Running,
    _folder: Folder,
    port: u16,
}

impl Server {
    /// Starts it on a port of loopback, with TLS or in the clear.
    pub(crate) fn start(with_tls: bool) -> Result<Self> {
        let port = free_port();
        let folder = Folder::new();
        let path = folder.path().display();
        let tls = if with_tls { certificate(&folder)? } else { String::new() };
        let configuration = format!(
            "daemon off; pid {path}/pid; worker_processes 1; worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
    access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 600s;
    client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
    uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi; client_max_body_size 1m;
    server {{
        listen 127.0.0.1:{port} backlog=4096{tls};
        root {path};
        location /small {{ return 200 \"hello, world\\n\"; }}
        location /post {{ return 200 \"thank you\\n\"; }}
    }}
}}"
        );
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), readable).context("cannot share the server's folder")?;
        fs::write(folder.file("nginx.conf"), configuration).context("cannot write nginx.conf")?;
        fs::write(folder.file("big"), vec![b'x'; 1 << 20]).context("cannot write the file to serve")?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(folder.file("nginx.conf")).arg("-p").arg(folder.path());
        command.arg("-e").arg(folder.file("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        wait_for_pid_file(&mut process, &command, &folder);
        wait_for_listener(Command::new("ss"), port, 1);
        Ok(Self { process, _folder: folder, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Makes a certificate, and what nginx's listener needs to use it.
fn certificate(folder: &Folder) -> Result<String> {
    let (certificate, key) = (folder.file("certificate.pem"), folder.file("key.pem"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-subj", "/CN=localhost", "-days", "1", "-out"]).arg(&certificate).arg("-keyout").arg(&key);
    printed(&mut command)?;
    Ok(format!(" ssl; ssl_certificate {}; ssl_certificate_key {}", certificate.display(), key.display()))
}
