//! What exchanges of HTTP/2 have to say beside request and response.

use tcp_trace_core::prose::{Micros, Phrase, Tone, counted};
use tcp_trace_model::{
    http2::{Blocked, Grpc, GrpcStatus, StreamDetails},
    record::{Http, Outcome},
};

use super::words::printable;

/// Behind the times of an exchange: its stream, its call, and what held it up.
pub(super) fn stream(http: &Http) -> Phrase {
    let Some(stream) = &http.exchange.stream else { return Phrase::default() };
    let StreamDetails {
        pushed_by, unknown_fields, omitted_fields, request_blocked, response_blocked, ..
    } = &stream.details;
    let mut phrase = Phrase::new(Tone::Aside, format!("  stream {}", stream.id));
    if pushed_by.is_some() {
        phrase = phrase.and(Tone::Aside, ", pushed");
    }
    for (name, waited) in [("request", request_blocked), ("response", response_blocked)] {
        for (window, us) in waited.iter().flat_map(windows) {
            phrase = phrase
                .and(Tone::Warning, format!(", the {name} waited {} for the {window}'s window", Micros(us)));
        }
    }
    if let Some(grpc) = &stream.grpc {
        let (tone, text) = call(grpc, http.exchange.outcome == Outcome::Ok);
        phrase = phrase.and(tone, text);
    }
    for (count, what) in [(*unknown_fields, "unknown"), (*omitted_fields, "left out")] {
        if count > 0 {
            phrase = phrase.and(Tone::Warning, format!("  ({} {what})", counted(count, "field")));
        }
    }
    phrase
}

/// The windows that held something up, and for how long.
fn windows(blocked: &Blocked) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    let Blocked { stream_us, connection_us } = *blocked;
    [("stream", stream_us), ("connection", connection_us)].into_iter().filter(|(_, us)| *us > 0)
}

/// A call of gRPC: its status, and its messages each way.
fn call(grpc: &Grpc, is_whole: bool) -> (Tone, String) {
    let Grpc { status, message, timeout_us, request, response, .. } = grpc;
    let (tone, status) = match status {
        Some(GrpcStatus(0)) => (Tone::Aside, " OK".to_owned()),
        Some(status) => (Tone::Failure, format!(" {status}")),
        None if is_whole => (Tone::Warning, " without a status".to_owned()),
        // How it ended instead, the outcome says.
        None => (Tone::Aside, String::new()),
    };
    let message = message.as_ref().filter(|message| !message.0.is_empty());
    let message = message.map_or(String::new(), |message| format!(": {}", printable(message)));
    let deadline = timeout_us.map_or(String::new(), |us| format!(", deadline {}", Micros(us)));
    let messages = counted(request.count, "message");
    (tone, format!("  gRPC{status}{message}, {messages} up, {} down{deadline}", response.count))
}

#[cfg(test)]
mod tests {
    use tcp_trace_core::prose::Palette;
    use tcp_trace_model::{
        http2::{GrpcMessages, Stream},
        record::{ConnectionInfo, Exchange},
        time::Time,
    };

    use super::*;

    fn said(details: StreamDetails, grpc: Option<Grpc>) -> String {
        let stream = Some(Box::new(Stream { id: 3, details, grpc: grpc.map(Box::new) }));
        let exchange = Box::new(Exchange { stream, ..Exchange::default() });
        let connection = std::sync::Arc::new(ConnectionInfo::default());
        stream_text(&Http { time: Time(0), connection, exchange })
    }

    fn stream_text(http: &Http) -> String {
        stream(http).painted(&Palette::PLAIN).to_string()
    }

    #[test]
    fn a_stream_says_what_is_unusual_of_it() {
        assert_eq!(said(StreamDetails::default(), None), "  stream 3");
        let details = StreamDetails {
            pushed_by: Some(1),
            unknown_fields: 2,
            omitted_fields: 1,
            response_blocked: Some(Blocked { stream_us: 1_000, connection_us: 20_000 }),
            ..StreamDetails::default()
        };
        assert_eq!(
            said(details, None),
            "  stream 3, pushed, the response waited 1.00 ms for the stream's window, the response waited 20.0 ms for the \
             connection's window  (2 fields unknown)  (1 field left out)"
        );
        let grpc = Grpc {
            status: Some(GrpcStatus(5)),
            message: Some("no \u{1b}[31muser".into()),
            timeout_us: Some(50_000),
            request: GrpcMessages { count: 1, ..GrpcMessages::default() },
            ..Grpc::default()
        };
        assert_eq!(
            said(StreamDetails::default(), Some(grpc)),
            "  stream 3  gRPC NOT_FOUND: no \\u{1b}[31muser, 1 message up, 0 down, deadline 50.0 ms"
        );
        let unknown = said(StreamDetails::default(), Some(Grpc::default()));
        assert_eq!(unknown, "  stream 3  gRPC without a status, 0 messages up, 0 down");
    }
}
