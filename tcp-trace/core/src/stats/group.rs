//! What is counted of exchanges that belong together.

use hdrhistogram::Histogram;
use tcp_trace_model::exchange::{Exchange, Outcome};

/// Digits that percentiles are exact to: a value stands for those within 1 % of it.
const DIGITS: u8 = 2;

/// Times, of which percentiles are kept.
#[derive(Clone, Debug)]
pub struct Times {
    histogram: Histogram<u32>,
    longest: u64,
}

impl Default for Times {
    fn default() -> Self {
        // It grows; this much is always allowed (`Histogram::new`).
        let histogram =
            Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("{DIGITS} digits are allowed"));
        Self { histogram, longest: 0 }
    }
}

impl Times {
    /// Counts a time in microseconds.
    pub fn add(&mut self, us: u64) {
        // 0 has no logarithm. One that grows takes every value.
        let _ = self.histogram.record(us.max(1));
        self.longest = self.longest.max(us);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The time in microseconds that this part of them does not exceed, from 0 to 1; `None` when there are none.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        // The upper end of its bucket may be beyond the longest.
        (self.count() > 0).then(|| self.histogram.value_at_quantile(part).min(self.longest))
    }

    /// The longest in microseconds, exactly.
    pub fn longest(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.longest)
    }
}

/// Exchanges that belong together.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Exchanges that ended while they were traced.
    pub requests: u64,
    /// Those of them that [failed](Exchange::has_failed).
    pub failed: u64,
    /// Responses 4xx.
    pub client_errors: u64,
    /// Responses 5xx.
    pub server_errors: u64,
    /// Those that were on a connection which had carried one before.
    pub reused: u64,
    /// Bytes of bodies of requests.
    pub request_bytes: u64,
    /// Bytes of bodies of responses.
    pub response_bytes: u64,
    /// From the first byte of the request to the last one of the response, of those that have one: of an upgrade, to its first.
    pub times: Times,
}

impl Group {
    pub(super) fn add(&mut self, exchange: &Exchange) {
        self.requests += 1;
        self.failed += u64::from(exchange.has_failed());
        self.reused += u64::from(exchange.reused == Some(true));
        if let Some(request) = &exchange.request {
            self.request_bytes = self.request_bytes.saturating_add(request.body.size);
        }
        let Some(response) = &exchange.response else { return };
        self.response_bytes = self.response_bytes.saturating_add(response.body.size);
        self.client_errors += u64::from((400..500).contains(&response.status_code));
        self.server_errors += u64::from(response.status_code >= 500);
        // What follows an upgrade is no response.
        let us = match exchange.outcome {
            Outcome::Upgraded => exchange.timing.until_response_us(),
            _ => Some(exchange.timing.total_us),
        };
        if let Some(us) = us {
            self.times.add(us);
        }
    }
}
