//! Gateways, each with the configuration in the file of its name, and their logs.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Stdio},
};

use tcp_trace_tests::{Folder, Namespace, Running, free_port, output, wait_for, wait_until_ready};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Haproxy,
    Apache,
    Caddy,
    Lighttpd,
    Varnish,
}

impl Kind {
    fn configuration(self) -> &'static str {
        match self {
            Self::Nginx => include_str!("nginx.conf"),
            Self::Haproxy => include_str!("haproxy.conf"),
            Self::Apache => include_str!("apache.conf"),
            Self::Caddy => include_str!("caddy.conf"),
            Self::Lighttpd => include_str!("lighttpd.conf"),
            Self::Varnish => include_str!("varnish.vcl"),
        }
    }

    /// What starts it in the foreground, with its configuration in `conf` of a folder.
    fn command(self, namespace: &Namespace, folder: &Folder, port: u16) -> Command {
        let conf = folder.file("conf").display().to_string();
        let path = folder.path().display().to_string();
        let (program, arguments): (_, Vec<&str>) = match self {
            Self::Nginx => ("nginx", vec!["-c", &conf, "-p", &path]),
            Self::Haproxy => ("haproxy", vec!["-db", "-f", &conf]),
            Self::Apache => ("apache2", vec!["-f", &conf, "-DFOREGROUND"]),
            Self::Caddy => ("caddy", vec!["run", "--adapter", "caddyfile", "--config", &conf]),
            Self::Lighttpd => ("lighttpd", vec!["-D", "-f", &conf]),
            Self::Varnish => {
                ("varnishd", vec!["-F", "-j", "none", "-s", "malloc,16m", "-f", &conf, "-n", &path])
            }
        };
        let mut command = namespace.command(program);
        command.args(arguments);
        if self == Self::Varnish {
            command.args(["-a", &format!("127.0.0.1:{port}")]);
            // Else it does not try a server again for a quarter of a second after a connect was refused.
            command.args(["-p", "backend_remote_error_holddown=0"]);
        }
        command
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    kind: Kind,
    port: u16,
    process: Option<Running>,
    folder: Folder,
}

impl Gateway {
    /// Starts it before the servers with these ports.
    pub(crate) fn start(kind: Kind, namespace: &Namespace, ports: &BTreeMap<&str, u16>) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("the folder is ours");
        let path = folder.path().display().to_string();
        let filled = ports.iter().fold(kind.configuration().to_owned(), |text, (name, port)| {
            text.replace(&format!("{{{name}}}"), &port.to_string())
        });
        let filled = filled.replace("{folder}", &path).replace("{port}", &port.to_string());
        fs::write(folder.file("conf"), filled).expect("the folder is ours");
        let file = |name| File::create(folder.file(name)).expect("the folder is ours");
        let mut command = kind.command(namespace, &folder, port);
        // Caddy keeps what it makes by itself in its user's folder.
        command.env("HOME", &path).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
        // HAProxy has its log there.
        let stdout = if kind == Kind::Haproxy { file("access.log") } else { file("stdout") };
        command.stdin(Stdio::null()).stdout(stdout).stderr(file("stderr")).process_group(0);
        let mut process = Running::start(&mut command);
        let logs = ["stderr", "error.log"].map(|name| folder.file(name));
        wait_until_ready(&mut process, &command, &logs.each_ref().map(|log| log.as_path()), || {
            let mut ss = namespace.command("ss");
            !output(ss.args(["-Hltn", &format!("sport = :{port}")])).stdout.is_empty()
        });
        if kind == Kind::Haproxy {
            wait_for("its check of the dead server", || {
                fs::read_to_string(folder.file("stderr")).ok()?.contains("is DOWN").then_some(())
            });
        }
        Self { kind, port, process: Some(process), folder }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it, and gives the target and the status of each request that it has logged.
    pub(crate) fn end(mut self) -> Vec<(String, u16)> {
        let log = self.folder.file("access.log");
        if self.kind == Kind::Varnish {
            let mut logged = Command::new("varnishncsa");
            logged.args(["-d", "-F", "%U%q %s", "-n"]).arg(self.folder.path());
            fs::write(&log, output(&mut logged).stdout).expect("the folder is ours");
        }
        drop(self.process.take());
        let text = fs::read_to_string(&log).unwrap_or_else(|error| {
            panic!("{error}: {}", fs::read_to_string(self.folder.file("stderr")).unwrap_or_default())
        });
        let lines = text.lines();
        if self.kind == Kind::Caddy {
            lines.filter_map(of_caddy).collect()
        } else {
            lines.filter_map(of_line).collect()
        }
    }
}

/// `/refused?x 502`; lighttpd has the whole request line.
fn of_line(line: &str) -> Option<(String, u16)> {
    let (rest, status) = line.rsplit_once(' ')?;
    let target = rest.split(' ').find(|part| part.starts_with('/'))?;
    Some((target.to_owned(), status.parse().ok()?))
}

fn of_caddy(line: &str) -> Option<(String, u16)> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let status = u16::try_from(value["status"].as_u64()?).ok()?;
    Some((value["request"]["uri"].as_str()?.to_owned(), status))
}
