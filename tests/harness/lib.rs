//! What the end-to-end tests are made of: the tracer under test, real servers and clients, namespaces, a remote
//! host that the test plays itself, and independent witnesses.

mod apache;
mod cgroup;
mod check;
mod chromium;
mod compare;
mod curl;
mod diagnosis;
mod dns_capture;
mod dns_server;
mod folder;
mod growing;
mod half_open;
mod haproxy;
mod interface;
mod kernel_life;
mod kernel_text;
mod life;
mod load;
mod logged;
mod namespace;
mod nginx;
mod peer;
pub mod pool;
mod process;
mod recording;
mod routed;
mod scene;
mod schema;
mod script;
mod segment;
mod sockets;
mod stream;
mod tracer;
mod tshark;
mod unprivileged;
mod wire;
mod wrk;

pub use apache::Apache;
pub use cgroup::Cgroup;
pub use check::{TOLERANCE_US, hold, while_doing};
pub use chromium::{PAGE_PARTS, load, put_page};
pub use compare::{assert_same, assert_same_at};
pub use curl::{Curl, curl, curl_in};
pub use diagnosis::{Diagnosing, Diagnosis, assert_ages, assert_between, assert_since, number};
pub use dns_capture::{CapturedAnswer, DnsCapture};
pub use dns_server::{Asked, DnsServer};
pub use folder::Folder;
pub use growing::Records;
pub use half_open::HalfOpen;
pub use haproxy::{Haproxy, ProxyLogLine};
pub(crate) use interface::InterfaceRequest;
pub use kernel_life::{KernelLife, kernel_lives};
pub use kernel_text::{KernelLine, KernelText, now};
pub use life::{Life, Moment};
pub use load::Load;
pub use logged::{assert_logged, assert_statuses, client_port};
pub use namespace::{Namespace, joined_namespaces};
pub use nginx::{AccessLogLine, Nginx};
pub use peer::{FIN_ACK, Peer, RST_ACK, SYN_ACK};
pub use process::{
    PATIENCE, Running, free_port, output, require_root, stay_on_one_cpu, wait_for, wait_for_listener,
    wait_for_pid_file, wait_until,
};
pub use recording::Recording;
pub use routed::{Routed, ip_json};
pub use scene::{Scene, accept, with_patience};
pub use script::Script;
pub use segment::Segment;
pub use sockets::{Socket, Timer, ss};
pub use stream::{Kind, StreamedTracer, Sum, Sums};
pub use tracer::{Tracer, tcp_trace};
pub use tshark::{Captured, Tshark};
pub use unprivileged::unprivileged;
pub use wire::{Wire, WireAddresses};
pub use wrk::{Loaded, Wrk};
