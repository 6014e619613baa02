//! What the header fields of an exchange say of the page that it belongs to.

use tcp_trace_model::record::{Fields, Http};

use super::address::Address;

/// Fields of a request that identify its page.
const REQUEST: [&str; 6] =
    ["referer", "origin", "accept", "sec-fetch-dest", "sec-fetch-site", "upgrade-insecure-requests"];
/// Fields of a response that do.
const RESPONSE: [&str; 2] = ["location", "content-type"];

/// Removes the header fields that this module has no use for.
pub fn keep_headers(http: &mut Http) {
    if let Some(request) = &mut http.exchange.request {
        request.headers = request.headers.only(&REQUEST);
    }
    if let Some(response) = &mut http.exchange.response {
        response.headers = response.headers.only(&RESPONSE);
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A document in a tab (Sec-Fetch-Dest: document).
    Document,
    /// A document in a tab or in a frame: the client does not say which.
    TabOrFrame,
    /// A part of a page, as the client says by Sec-Fetch-Dest.
    Part,
    /// It does not say.
    Unknown,
}

/// An exchange's header fields.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) purpose: Purpose,
    /// The page or part that requested it.
    pub(super) referer: Option<Address>,
    /// The origin of the page that requested it (RFC 6454, section 7).
    pub(super) origin: Option<Address>,
    /// Sec-Fetch-Site: how the requesting page is related to what it requests.
    pub(super) site: Option<String>,
    /// Where the response leads.
    pub(super) location: Option<String>,
    /// Whether the response is HTML.
    pub(super) is_html: bool,
}

impl Facts {
    pub(super) fn of(http: &Http) -> Self {
        let request =
            |name: &str| field(http.exchange.request.as_ref().map(|request| &request.headers), name);
        let response =
            |name: &str| field(http.exchange.response.as_ref().map(|response| &response.headers), name);
        let content_type = response("content-type").unwrap_or_default().to_ascii_lowercase();
        Self {
            purpose: purpose(request),
            referer: request("referer").and_then(|referer| Address::parse(&referer)),
            origin: request("origin").and_then(|origin| Address::parse(&origin)),
            site: request("sec-fetch-site"),
            location: response("location").filter(|_| is_redirect(http)),
            is_html: ["text/html", "application/xhtml+xml"].iter().any(|html| content_type.starts_with(html)),
        }
    }
}

/// Whether a client that follows redirects (RFC 9110, section 15.4) follows this one.
pub fn is_redirect(http: &Http) -> bool {
    http.exchange.response.as_ref().is_some_and(|response| {
        let headers = Some(&response.headers);
        matches!(response.status_code, 301 | 302 | 303 | 307 | 308) && field(headers, "location").is_some()
    })
}

fn purpose(request: impl Fn(&str) -> Option<String>) -> Purpose {
    match request("sec-fetch-dest").as_deref() {
        Some("document") => return Purpose::Document,
        Some(_) => return Purpose::Part,
        // Browsers send it only to hosts that they trust: https, localhost (Fetch Metadata, section 2).
        None => {}
    }
    // What browsers send with every navigation, and with nothing else.
    let accept = request("accept").unwrap_or_default();
    let is_navigation = request("upgrade-insecure-requests").is_some()
        || accept.contains("text/html") && accept.contains("application/xhtml+xml");
    if is_navigation { Purpose::TabOrFrame } else { Purpose::Unknown }
}

/// The first field of this name.
fn field(headers: Option<&Fields>, name: &str) -> Option<String> {
    Some(String::from_utf8_lossy(headers?.first(name)?).trim().to_owned())
}
