//! The `http` line.

use super::{line::Line, shared::SharedText};
use crate::{
    exchange::{Exchange, Integrity, Outcome, Request, Response, Timing, Url, Version},
    fields::Fields,
    record::Http,
    text::Text,
};

impl Line<'_> {
    #[inline(always)]
    fn protocol(&mut self, version: Option<Version>) {
        match version {
            Some(Version { major: 1, minor: 1 }) => {
                self.put(b",\"network\":{\"protocol\":{\"name\":\"http\",\"version\":\"1.1\"},");
            }
            None => self.put(b",\"network\":{\"protocol\":{\"name\":\"http\"},"),
            Some(version) => {
                self.put(b",\"network\":{\"protocol\":{\"name\":\"http\",\"version\":");
                self.rare(&version);
                self.put(b"},");
            }
        }
    }

    pub(super) fn http(&mut self, http: &Http, shared: &SharedText) {
        let Http { time, connection, exchange } = http;
        self.put(b"{\"type\":\"http\",\"time\":");
        self.time(*time);
        self.put(b",\"connection\":");
        self.put_short(shared.id());
        self.put(b",\"index\":");
        self.number(exchange.index);
        self.role(connection.role);
        self.protocol(exchange.version());
        self.put(shared.network());
        self.put(b"},\"http\":{");
        if let Some(stream) = &exchange.stream {
            self.put(b"\"stream_id\":");
            self.number(stream.id.into());
            if exchange.request.is_some() || !exchange.informational.is_empty() || exchange.response.is_some()
            {
                self.put(b",");
            }
        }
        self.messages(exchange);
        self.put(b"}");
        if let Some(url) = &exchange.url {
            self.url(url);
        }
        self.put(shared.process_and_more());
        self.timing(&exchange.timing);
        match exchange.integrity {
            Integrity::Complete => self.put(b",\"integrity\":\"complete\""),
            Integrity::Truncated => self.put(b",\"integrity\":\"truncated\""),
            Integrity::Gap => self.put(b",\"integrity\":\"gap\""),
        }
        match exchange.outcome {
            Outcome::Ok => self.put(b",\"outcome\":\"ok\""),
            Outcome::NoResponse => self.put(b",\"outcome\":\"no_response\""),
            Outcome::Reset => self.put(b",\"outcome\":\"reset\""),
            Outcome::Truncated => self.put(b",\"outcome\":\"truncated\""),
            Outcome::Upgraded => self.put(b",\"outcome\":\"upgraded\""),
            Outcome::Invalid => self.put(b",\"outcome\":\"invalid\""),
        }
        if let Some(reason) = &exchange.reason {
            self.put(b",\"reason\":");
            self.text(reason.as_bytes());
        }
        if let Some(ended) = &exchange.ended {
            self.put(b",\"ended\":");
            self.rare(ended);
        }
        self.optional(b",\"missing\":", exchange.missing);
        match exchange.reused {
            Some(true) => self.put(b",\"reused\":true"),
            Some(false) => self.put(b",\"reused\":false"),
            None => {}
        }
        if let Some(websocket) = &exchange.websocket {
            self.put(b",\"websocket\":");
            self.rare(websocket);
        }
        if let Some(stream) = &exchange.stream {
            if let Some(details) = exchange.stream_details() {
                self.put(b",\"http2\":");
                self.rare(details);
            }
            if let Some(grpc) = &stream.grpc {
                self.put(b",\"grpc\":");
                self.rare(grpc);
            }
        }
        if let Some(tls) = &exchange.tls {
            self.put(b",\"tls\":");
            self.rare(tls);
        }
        self.put(b"}");
    }

    fn messages(&mut self, exchange: &Exchange) {
        if let Some(request) = &exchange.request {
            self.request(request);
        }
        if !exchange.informational.is_empty() {
            if exchange.request.is_some() {
                self.put(b",\"informational\":");
            } else {
                self.put(b"\"informational\":");
            }
            self.rare(&exchange.informational);
        }
        if let Some(response) = &exchange.response {
            if exchange.request.is_some() || !exchange.informational.is_empty() {
                self.put(b",");
            }
            self.response(response, exchange.other_version());
        }
    }

    fn request(&mut self, request: &Request) {
        self.put(b"\"request\":{\"method\":");
        self.text(&request.method.0);
        self.put(b",\"target\":");
        self.text(&request.target.0);
        self.headers(&request.headers, request.header_size, request.body.size);
    }

    fn response(&mut self, response: &Response, version: Option<Version>) {
        self.put(b"\"response\":{\"status_code\":");
        self.number(response.status_code.into());
        self.put(b",\"reason\":");
        self.text(&response.reason.0);
        if let Some(version) = version {
            self.put(b",\"version\":");
            self.rare(&version);
        }
        self.headers(&response.headers, response.header_size, response.body.size);
    }

    /// Appends what both messages end with.
    fn headers(&mut self, fields: &Fields, header_size: u64, body_size: u64) {
        self.put(b",\"headers\":[");
        if fields.are_plain() {
            let mut fields = fields.iter();
            if let Some(first) = fields.next() {
                self.put(b"[\"");
                self.plain_field(first);
            }
            for field in fields {
                self.put(b",[\"");
                self.plain_field(field);
            }
        } else {
            for (number, (name, value)) in fields.iter().enumerate() {
                if number > 0 {
                    self.put(b",");
                }
                self.put(b"[");
                self.text(name);
                self.put(b",");
                self.text(value);
                self.put(b"]");
            }
        }
        self.put(b"],\"header_size\":");
        self.number(header_size);
        self.put(b",\"body\":{\"size\":");
        self.number(body_size);
        self.put(b"}}");
    }

    /// Appends what follows the opening quotation mark of a field's name.
    #[inline(always)]
    fn plain_field(&mut self, (name, value): (&[u8], &[u8])) {
        self.put_short(name);
        self.put(b"\",\"");
        self.put_short(value);
        self.put(b"\"]");
    }

    fn url(&mut self, url: &Url) {
        self.put(b",\"url\":{");
        for (name, part) in [(&b"\"scheme\":"[..], &url.scheme), (b"\"host\":", &url.host)] {
            if let Some(Text(part)) = part {
                self.put_short(name);
                self.text(part);
                self.put(b",");
            }
        }
        self.put(b"\"path\":");
        self.text(&url.path.0);
        if let Some(query) = &url.query {
            self.put(b",\"query\":");
            self.text(&query.0);
        }
        self.put(b"}");
    }

    fn timing(&mut self, timing: &Timing) {
        self.put(b",\"timing\":{\"started\":");
        self.time(timing.started);
        self.optional(b",\"send_us\":", timing.send_us);
        self.optional(b",\"wait_us\":", timing.wait_us);
        self.optional(b",\"receive_us\":", timing.receive_us);
        self.put(b",\"total_us\":");
        self.number(timing.total_us);
        self.optional(b",\"idle_us\":", timing.idle_us);
        self.optional(b",\"response_us\":", timing.response_us);
        self.optional(b",\"expect_us\":", timing.expect_us);
        if !timing.informational_us.is_empty() {
            self.put(b",\"informational_us\":");
            self.rare(&timing.informational_us);
        }
        if let Some(stalls) = &timing.stalls {
            self.put(b",\"stalls\":");
            self.rare(stalls);
        }
        self.put(b"}");
    }
}
