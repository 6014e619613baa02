//! Filters of exchanges on the command line.

use std::time::Duration;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use tcp_trace_model::{
    filter::{ExchangeFilter, HttpProtocol, Pattern, Status},
    record::Filter,
};

use super::args::duration;

/// A connection is selected when one of its exchanges is; its other exchanges are not.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters of exchanges (with their connections)")]
pub(super) struct ExchangeFilters {
    /// Only responses with this status: a code, a class or a range (404, 5xx, 400-499)
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<Status>,
    /// Only requests with this method
    #[arg(long, value_name = "METHOD", value_delimiter = ',', value_parser = method)]
    method: Vec<String>,
    /// Only requests to this host, as they name it; * and ? are wildcards, and a name without a port matches each port
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    host: Vec<Pattern>,
    /// Only requests for this path, without the query; * stands for any characters, also for /
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    path: Vec<Pattern>,
    /// Only exchanges that took longer than this, such as 500ms
    #[arg(long, value_name = "D", value_parser = duration)]
    slower: Option<Duration>,
    /// Only exchanges that failed: no whole response, a 5xx, an error of gRPC
    #[arg(long)]
    failed: bool,
    /// Only exchanges of this protocol
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', value_parser = protocol())]
    protocol: Vec<HttpProtocol>,
    /// Leave out responses with this status
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    not_status: Vec<Status>,
    /// Leave out requests with this method
    #[arg(long, value_name = "METHOD", value_delimiter = ',', value_parser = method)]
    not_method: Vec<String>,
    /// Leave out requests to this host
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    not_host: Vec<Pattern>,
    /// Leave out requests for this path
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    not_path: Vec<Pattern>,
    /// Leave out exchanges of this protocol
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', value_parser = protocol())]
    not_protocol: Vec<HttpProtocol>,
}

impl ExchangeFilters {
    /// Adds what was typed to a filter of connections.
    pub(super) fn add_to(&self, filter: Filter) -> Filter {
        let Self { status, method, host, path, slower, failed, protocol, .. } = self;
        let exchanges = ExchangeFilter {
            status: status.clone(),
            method: method.clone(),
            host: host.clone(),
            path: path.clone(),
            slower_us: slower.map(|slower| u64::try_from(slower.as_micros()).unwrap_or(u64::MAX)),
            failed: *failed,
            protocol: protocol.clone(),
        };
        let any = ExchangeFilter::default;
        // Each kind excludes by itself.
        let excluding = [
            ExchangeFilter { status: self.not_status.clone(), ..any() },
            ExchangeFilter { method: self.not_method.clone(), ..any() },
            ExchangeFilter { host: self.not_host.clone(), ..any() },
            ExchangeFilter { path: self.not_path.clone(), ..any() },
            ExchangeFilter { protocol: self.not_protocol.clone(), ..any() },
        ];
        let excluding = excluding.into_iter().filter(|exchanges| !exchanges.is_empty());
        let not = excluding.map(|exchanges| Filter { exchanges, ..Filter::default() });
        let not = filter.not.iter().cloned().chain(not).collect();
        Filter { exchanges, not, ..filter }
    }
}

/// Methods are compared without case, as people type them.
fn method(text: &str) -> Result<String, String> {
    if text.is_empty() || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("expected a method such as GET".to_owned());
    }
    Ok(text.to_ascii_uppercase())
}

/// A name that is near to one of these is suggested.
fn protocol() -> impl TypedValueParser<Value = HttpProtocol> {
    let names = HttpProtocol::NAMES.map(|(name, _)| name);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<HttpProtocol>())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        filters: ExchangeFilters,
    }

    fn filter(line: &str) -> Result<Filter, String> {
        let typed = Typed::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        Ok(typed.filters.add_to(Filter::default()))
    }

    #[test]
    fn what_is_typed_is_the_filter() {
        let line = "x --status 404,5xx --method get --host *.example --path /api/* --slower 500ms --failed \
                    --protocol http2,grpc --not-path /health --not-method HEAD";
        let filter = filter(line).unwrap();
        let json = serde_json::to_value(&filter).unwrap();
        let expected = serde_json::json!({
            "exchanges": {
                "status": ["404", "5xx"], "method": ["GET"], "host": ["*.example"], "path": ["/api/*"],
                "slower_us": 500_000, "failed": true, "protocol": ["http2", "grpc"],
            },
            "not": [{ "exchanges": { "method": ["HEAD"] } }, { "exchanges": { "path": ["/health"] } }],
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Filter>(json).unwrap(), filter);
    }

    #[test]
    fn bad_values_say_what_is_expected() {
        for (line, expected) in [
            ("x --status 5x", "expected a status code, a class or a range"),
            ("x --method", "a value is required"),
            ("x --path=", "expected a text"),
            ("x --protocol htp2", "a similar value exists: 'http2'"),
        ] {
            let error = filter(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
