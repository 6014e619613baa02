//! When servers closed connections, and how long those had been idle: what is closed at one moment after different idle times was not
//! closed for being idle.

use std::collections::HashMap;

use tcp_trace_model::{
    event::{Direction, Role},
    record::{By, Connection, ConnectionId},
    time::Time,
};

use super::{
    attempts::says_close,
    failed_exchanges::{STOPS_WITHIN_US, first_end},
    history::History,
};
use crate::timeline::Life;

/// By how much idle times differ, at least, that no one timeout explains, in microseconds: servers look at their timers in intervals.
const DIFFERENT_LEAST_US: u64 = 1_000_000;

/// The connections that processes closed when they were idle: by process id, which, when, and after how long in microseconds.
#[derive(Debug, Default)]
pub(super) struct Closes(HashMap<u32, Vec<(ConnectionId, Time, u64)>>);

impl Closes {
    pub(super) fn of(history: &History) -> Self {
        let mut closes = Self::default();
        for (pid, close) in history.lives().filter_map(of_life) {
            closes.0.entry(pid).or_default().push(close);
        }
        closes
    }

    /// Whether the process of this connection, which it closed then, closed another one at about that time that had been idle for a
    /// clearly different time.
    pub(super) fn are_at_once(&self, server: &Connection, ended: Time, idle_us: u64) -> bool {
        let pid = server.connection.process.as_deref().map(|process| process.pid);
        let all = pid.and_then(|pid| self.0.get(&pid)).into_iter().flatten();
        let mut others = all.filter(|(connection, ..)| *connection != server.connection.id);
        others.any(|(_, other, other_us)| {
            let apart_us = ended.max(*other).micros_since(ended.min(*other));
            let (short, long) = (idle_us.min(*other_us), idle_us.max(*other_us));
            apart_us < STOPS_WITHIN_US
                && long - short >= DIFFERENT_LEAST_US
                && long >= short.saturating_mul(2)
        })
    }
}

/// Where the last that was asked on it was answered.
fn of_life(life: &Life) -> Option<(u32, (ConnectionId, Time, u64))> {
    let summary = life.summary.as_deref()?;
    let last = life.exchanges.back().filter(|last| {
        last.exchange.request.is_some() && last.exchange.response.is_some() && !says_close(last)
    })?;
    let is_closed_here = summary.connection.role == Some(Role::Server) && summary.close.by == By::Local;
    let ended = first_end(life, Direction::Out).filter(|_| is_closed_here)?;
    let timing = &last.exchange.timing;
    let idle_us = ended.micros_since(timing.started.after_micros(timing.total_us));
    Some((summary.connection.process.as_deref()?.pid, (summary.connection.id, ended, idle_us)))
}
