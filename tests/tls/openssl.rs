//! OpenSSL's own server and client, and certificates.

use std::{
    fs::File,
    path::PathBuf,
    process::{Command, Stdio},
};

use tcp_trace_tests::{Folder, Namespace, Running, output, wait_for_listener};

/// A certificate that is its own issuer, with its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    folder: Folder,
}

impl Certificate {
    /// That of www.example.com, valid for so many days from now on.
    pub(crate) fn valid_for(days: i32) -> Self {
        Self::new(
            days,
            &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "DNS:www.example.com,IP:192.0.2.1",
        )
    }

    /// The same with a key and with names that make it large.
    pub(crate) fn large() -> Self {
        let names: Vec<_> = (0..150).map(|number| format!("DNS:host-{number}.www.example.com")).collect();
        Self::new(30, &["-newkey", "rsa:4096"], &names.join(","))
    }

    fn new(days: i32, key: &[&str], names: &str) -> Self {
        let folder = Folder::new();
        let certificate = Self { folder };
        let extension = certificate.folder.file("extension");
        std::fs::write(&extension, format!("subjectAltName={names}\n")).expect("the folder is ours");
        let mut request = Command::new("openssl");
        request.args(["req", "-new", "-nodes", "-subj", "/O=Example/CN=www.example.com"]).args(key);
        request.arg("-keyout").arg(certificate.key()).arg("-out").arg(certificate.folder.file("request"));
        output(&mut request);
        let mut sign = Command::new("openssl");
        // `req -x509` makes none that has expired.
        sign.args(["x509", "-req", "-days", &days.to_string(), "-in"])
            .arg(certificate.folder.file("request"));
        sign.arg("-key")
            .arg(certificate.key())
            .arg("-extfile")
            .arg(extension)
            .arg("-out")
            .arg(certificate.file());
        output(&mut sign);
        certificate
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.file("certificate")
    }

    /// The certificate and its key in one file.
    pub(crate) fn with_key(&self) -> PathBuf {
        let both =
            [self.file(), self.key()].map(|path| std::fs::read(path).expect("it was written")).concat();
        let path = self.folder.file("both");
        std::fs::write(&path, both).expect("the folder is ours");
        path
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.file("key")
    }

    /// A file beside it.
    pub(crate) fn beside(&self, name: &str) -> String {
        self.folder.file(name).display().to_string()
    }

    /// What OpenSSL says of it.
    pub(crate) fn said(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("openssl");
        let printed = output(command.args(["x509", "-noout", "-in"]).arg(self.file()).args(arguments));
        String::from_utf8(printed.stdout).expect("openssl prints text")
    }
}

/// A running `openssl s_server`, which answers each request with a page.
#[derive(Debug)]
pub(crate) struct Server {
    _process: Running,
    _folder: Folder,
}

impl Server {
    pub(crate) fn start(
        namespace: &Namespace,
        port: u16,
        certificate: &Certificate,
        arguments: &[&str],
    ) -> Self {
        let folder = Folder::new();
        let log = File::create(folder.file("log")).expect("the folder is ours");
        let mut command = namespace.command("openssl");
        command.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-www"]);
        command.arg("-cert").arg(certificate.file()).arg("-key").arg(certificate.key()).args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("it is open")).stderr(log);
        let process = Running::start(&mut command);
        wait_for_listener(namespace.command("ss"), port, 1);
        Self { _process: process, _folder: folder }
    }
}

/// What an `openssl s_client` did that requested a page.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) said: String,
    pub(crate) is_success: bool,
}

impl Client {
    pub(crate) fn run(
        namespace: &Namespace,
        port: u16,
        certificate: &Certificate,
        arguments: &[&str],
    ) -> Self {
        let request = certificate.folder.file("http");
        std::fs::write(&request, "GET / HTTP/1.0\r\n\r\n").expect("the folder is ours");
        let mut command = namespace.command("openssl");
        command.args(["s_client", "-ign_eof", "-connect", &format!("127.0.0.1:{port}")]).args(arguments);
        command.stdin(File::open(request).expect("it was written"));
        let output = command.output().expect("openssl runs");
        let said = [output.stdout, output.stderr].concat();
        Self { said: String::from_utf8_lossy(&said).into_owned(), is_success: output.status.success() }
    }
}
