//! Figures for other programs.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tcp_trace_core::stats::{Group, Stats, Times};

use super::{StatsOrder, first, rate};

/// The percentiles, with their names.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];
/// The columns of CSV behind the group's name.
const COLUMNS: &str = "requests,per_second,failed,status_4xx,status_5xx,p50_us,p90_us,p99_us,max_us,request_bytes,response_bytes";

/// One JSON object, with a newline behind it. Times are in microseconds.
pub fn stats_json(stats: &Stats, order: StatsOrder, top: usize) -> String {
    let (groups, more) = first(stats, order, top);
    let duration_us = stats.duration_us();
    let of = |group: &Group| of_group(group, duration_us);
    let groups: Vec<Value> = groups
        .into_iter()
        .map(|(name, group)| {
            let mut value = of(group);
            value[stats.dimension().name()] = name.into();
            value
        })
        .collect();
    let connections = stats.connections();
    let mut whole = of(stats.total());
    whole["type"] = "stats".into();
    whole["duration_us"] = duration_us.into();
    whole["statuses"] =
        stats.statuses().iter().map(|(code, count)| (code.to_string(), json!(count))).collect();
    whole["unfinished"] = stats.unfinished().into();
    whole["lost"] = stats.lost().into();
    whole["connections"] = json!({
        "opened": connections.opened,
        "open": connections.open,
        "failed": connections.failed,
        "reset": connections.reset,
        "with_exchanges": connections.with_exchanges,
        "bytes": connections.bytes,
        "states": connections.states,
        "connect_us": of_times(&connections.connects),
        "tls_handshake_us": of_times(&connections.handshakes),
        "tls_handshakes_failed": connections.handshakes_failed,
        "lookup_us": of_times(&connections.lookups),
        "lookups_failed": connections.lookups_failed,
    });
    whole["by"] = stats.dimension().name().into();
    whole["groups"] = groups.into();
    whole["groups_not_shown"] = more.into();
    whole["other_groups"] = of(stats.others());
    format!("{whole}\n")
}

/// A line for each group, behind one with the names of the columns (RFC 4180, with `\n`).
pub fn stats_csv(stats: &Stats, order: StatsOrder, top: usize) -> String {
    let mut text = format!("{},{COLUMNS}\n", stats.dimension().name());
    for (name, group) in first(stats, order, top).0 {
        let us = |part| group.times.quantile(part).map_or(String::new(), |us| us.to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{},{},{:.3},{},{},{},{},{},{},{},{},{}",
            quoted(name),
            group.requests,
            rate(group, stats.duration_us()),
            group.failed,
            group.client_errors,
            group.server_errors,
            us(0.5),
            us(0.9),
            us(0.99),
            group.times.longest().map_or(String::new(), |us| us.to_string()),
            group.request_bytes,
            group.response_bytes,
        );
    }
    text
}

fn of_group(group: &Group, duration_us: u64) -> Value {
    json!({
        "requests": group.requests,
        "per_second": rate(group, duration_us),
        "failed": group.failed,
        "status_4xx": group.client_errors,
        "status_5xx": group.server_errors,
        "reused": group.reused,
        "request_bytes": group.request_bytes,
        "response_bytes": group.response_bytes,
        "total_us": of_times(&group.times),
    })
}

/// `null` when there are none.
fn of_times(times: &Times) -> Value {
    let Some(longest) = times.longest() else { return Value::Null };
    let mut value = json!({ "count": times.count(), "max": longest });
    for (name, part) in QUANTILES {
        value[name] = times.quantile(part).into();
    }
    value
}

/// A field of CSV: in quotes where it has a comma, a quote or a line's end. One that a spreadsheet would take for a formula begins
/// with an apostrophe.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
