//! nginx with a configuration of the test's own, and its access log.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    process::{Command, Stdio},
};

use serde::{Deserialize, de::DeserializeOwned};

use crate::{Folder, Namespace, Running, wait_for, wait_for_listener, wait_for_pid_file};

/// One line of the access log. Apache's and the scripts' are the same.
#[derive(Clone, Debug, Deserialize)]
pub struct AccessLogLine {
    /// Method.
    pub method: String,
    /// Request target as sent.
    pub uri: String,
    /// Status code.
    pub status: u16,
    /// Bytes of the response without its head.
    pub body_bytes_sent: u64,
    /// Bytes of the response.
    pub bytes_sent: u64,
    /// Bytes of the request with its body, where the server counts them right.
    pub request_length: Option<u64>,
    /// The client's port.
    pub remote_port: u16,
    /// The client's address, where the log has it.
    pub remote_addr: Option<IpAddr>,
    /// The server's own, likewise.
    pub server_addr: Option<IpAddr>,
    /// Process id of the worker.
    pub pid: u32,
}

/// What a file says in lines of JSON, once it has this many.
pub(crate) fn json_lines<T: DeserializeOwned>(path: &Path, lines: usize) -> Vec<T> {
    parse_lines(&text_of_lines(path, lines))
}

/// What a file says, once it has this many lines.
pub(crate) fn text_of_lines(path: &Path, lines: usize) -> String {
    wait_for(&format!("{lines} lines in {}", path.display()), || {
        let text = fs::read_to_string(path).ok()?;
        (text.matches('\n').count() >= lines).then_some(text)
    })
}

/// What lines of JSON say.
pub(crate) fn parse_lines<T: DeserializeOwned>(text: &str) -> Vec<T> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

/// A running nginx, one master and two workers.
#[derive(Debug)]
pub struct Nginx {
    process: Running,
    folder: Folder,
    port: u16,
}

impl Nginx {
    /// Starts it on a port of all addresses of both IP versions.
    pub fn start(port: u16) -> Self {
        Self::start_with(Command::new("nginx"), port, "")
    }

    /// The same as a gateway: `/gateway/` is answered by the server on another port of IPv4's loopback, for whose
    /// connection and whose response it waits a second.
    pub fn start_before(port: u16, behind: u16) -> Self {
        let location = format!(
            "location /gateway/ {{ proxy_pass http://127.0.0.1:{behind}; proxy_connect_timeout 1s; \
             proxy_read_timeout 1s; }}"
        );
        Self::start_with(Command::new("nginx"), port, &location)
    }

    /// The same, and on another port of IPv4's loopback behind a proxy that begins with a PROXY header.
    pub fn start_behind_proxy(port: u16, proxied: u16) -> Self {
        let nginx = Self::start_with(
            Command::new("nginx"),
            port,
            &format!("listen 127.0.0.1:{proxied} proxy_protocol;"),
        );
        wait_for_listener(Command::new("ss"), proxied, 1);
        nginx
    }

    /// The same, and on another port of IPv4's loopback with HTTP/2, for as many requests as a client has.
    pub fn start_http2(port: u16, http2: u16) -> Self {
        let location = format!("listen 127.0.0.1:{http2} http2; keepalive_requests 1000000;");
        let nginx = Self::start_with(Command::new("nginx"), port, &location);
        wait_for_listener(Command::new("ss"), http2, 1);
        nginx
    }

    /// The same, and with TLS and HTTP/2 on another port of IPv4's loopback, with the certificate and the key in these files.
    pub fn start_with_tls(port: u16, tls: u16, certificate: &Path, key: &Path) -> Self {
        let (certificate, key) = (certificate.display(), key.display());
        let listen = format!(
            "listen 127.0.0.1:{tls} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key};"
        );
        let nginx = Self::start_with(Command::new("nginx"), port, &listen);
        wait_for_listener(Command::new("ss"), tls, 1);
        nginx
    }

    /// The same in a network namespace.
    pub fn start_in(namespace: &Namespace, port: u16) -> Self {
        let nginx = Self::start_with(namespace.command("nginx"), port, "");
        wait_for_listener(namespace.command("ss"), port, 2);
        nginx
    }

    fn start_with(mut command: Command, port: u16, location: &str) -> Self {
        let folder = Folder::new();
        // The workers run as another user and have to reach the files.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(folder.path(), readable).expect("the folder is ours");
        fs::create_dir(folder.file("www")).expect("the folder is ours");
        fs::write(folder.file("www/big"), vec![b'x'; 1 << 20]).expect("the folder is ours");
        fs::write(folder.file("www/text.txt"), "text ".repeat(2000)).expect("the folder is ours");
        fs::write(folder.file("nginx.conf"), configuration(&folder, port, location))
            .expect("the folder is ours");
        command.arg("-c").arg(folder.file("nginx.conf")).arg("-p").arg(folder.path());
        command.arg("-e").arg(folder.file("error.log")).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        wait_for_pid_file(&mut process, &command, &folder);
        Self { process, folder, port }
    }

    /// A URL on it, at an address as it stands in a URL.
    pub fn url(&self, address: &str, path: &str) -> String {
        format!("http://{address}:{}{path}", self.port)
    }

    /// Process ids of its workers.
    pub fn workers(&self) -> [u32; 2] {
        let pid = self.process.pid();
        wait_for("nginx's workers", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            let pids: Option<Vec<u32>> = children.split_whitespace().map(|pid| pid.parse().ok()).collect();
            pids?.try_into().ok()
        })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Serves a file in addition.
    pub fn put(&self, name: &str, content: &str) {
        let path = self.folder.file("www").join(name);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder is ours");
        fs::write(path, content).expect("the folder is ours");
    }

    /// Makes a file that it serves so many bytes long.
    pub fn enlarge(&self, name: &str, size: u64) {
        let file = fs::OpenOptions::new().write(true).open(self.folder.file("www").join(name));
        file.and_then(|file| file.set_len(size)).expect("the folder is ours");
    }

    /// The access log, once it has this many lines.
    pub fn access_log(&self, lines: usize) -> Vec<AccessLogLine> {
        json_lines(&self.folder.file("access.log"), lines)
    }
}

fn configuration(folder: &Folder, port: u16, location: &str) -> String {
    let path = folder.path().display();
    format!(
        r#"
daemon off;
pid {path}/pid;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
    log_format json escape=json '{{"method":"$request_method","uri":"$request_uri","status":$status,'
        '"body_bytes_sent":$body_bytes_sent,"bytes_sent":$bytes_sent,"request_length":$request_length,'
        '"remote_port":$remote_port,"remote_addr":"$remote_addr","server_addr":"$server_addr","pid":$pid}}';
    access_log {path}/access.log json;
    types {{ text/plain txt; text/html html; text/css css; text/javascript js; image/svg+xml svg; }}
    sendfile on;
    if_modified_since before;
    gzip_min_length 1;
    client_body_temp_path {path}/body;
    proxy_temp_path {path}/proxy;
    fastcgi_temp_path {path}/fastcgi;
    uwsgi_temp_path {path}/uwsgi;
    scgi_temp_path {path}/scgi;
    server {{
        listen {port} backlog=1024;
        listen [::]:{port} ipv6only=on backlog=1024;
        root {path}/www;
        location /echo/ {{ return 200 "you asked for $request_uri\n"; }}
        location /nothing {{ return 204; }}
        {location}
        location /text.txt {{ gzip on; gzip_types text/plain; }}
    }}
}}
"#
    )
}
