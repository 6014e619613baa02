//! What the end-to-end tests are made of: the tracer under test, real servers and clients, namespaces.

mod compare;
mod curl;
mod folder;
mod load;
mod namespace;
mod nginx;
mod process;
mod recording;
mod tracer;
mod unprivileged;

pub use compare::assert_same;
pub use curl::{Curl, curl, curl_in};
pub use folder::Folder;
pub use load::Load;
pub use namespace::{Namespace, joined_namespaces};
pub use nginx::{AccessLogLine, Nginx};
pub use process::{PATIENCE, Running, free_port, output, require_root, wait_for, wait_for_listener};
pub use recording::Recording;
pub use tracer::{Tracer, tcp_trace};
pub use unprivileged::unprivileged;
