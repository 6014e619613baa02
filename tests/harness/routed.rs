//! Three hosts in a row, as network namespaces: a client, a router, and a server behind it.

use std::process::Command;

use serde_json::Value;

use crate::{Namespace, output};

/// The hosts. Each end of a link has its own MAC.
#[derive(Debug)]
pub struct Routed {
    /// 10.98.1.2 and fd98:1::2 on `near`, with the router as its gateway.
    pub client: Namespace,
    /// 10.98.1.1 and fd98:1::1 on `near`; 10.98.2.1 and fd98:2::1 on `far`.
    pub router: Namespace,
    /// 10.98.2.2 and fd98:2::2 on `far`, with the router as its gateway.
    pub server: Namespace,
}

impl Routed {
    /// Makes them.
    pub fn new() -> Self {
        let hosts = Self { client: Namespace::new(), router: Namespace::new(), server: Namespace::new() };
        hosts.router.set("ipv4/ip_forward", "1");
        hosts.router.set("ipv6/conf/all/forwarding", "1");
        for (end, name, net) in [(&hosts.client, "near", 1), (&hosts.server, "far", 2)] {
            let peer = hosts.router.path();
            let pair = ["link", "add", name, "type", "veth", "peer", "name", name, "netns", &peer];
            output(end.command("ip").args(pair));
            for (namespace, host) in [(&hosts.router, 1), (end, 2)] {
                let ip = |arguments: &str| {
                    output(namespace.command("ip").args(arguments.split(' ')));
                };
                ip(&format!("address add 10.98.{net}.{host}/24 dev {name}"));
                // Without duplicate address detection the address can be used at once.
                ip(&format!("address add fd98:{net}::{host}/64 dev {name} nodad"));
                ip(&format!("link set {name} address 5e:00:53:00:0{net}:0{host} up"));
            }
            output(end.command("ip").args(["route", "add", "default", "via", &format!("10.98.{net}.1")]));
            output(end.command("ip").args([
                "-6",
                "route",
                "add",
                "default",
                "via",
                &format!("fd98:{net}::1"),
            ]));
        }
        hosts
    }
}

impl Default for Routed {
    fn default() -> Self {
        Self::new()
    }
}

/// What `ip -json` prints in a namespace: a list of objects, of which there is to be one.
pub fn ip_json(namespace: &Namespace, arguments: &[&str]) -> Value {
    let mut command: Command = namespace.command("ip");
    let printed = output(command.arg("-json").args(arguments)).stdout;
    let all: Vec<Value> = serde_json::from_slice(&printed).expect("ip prints JSON");
    let [one] = all.as_slice() else { panic!("ip {arguments:?} prints {all:?}") };
    one.clone()
}
