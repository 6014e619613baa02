//! Which notes of `explain` say more about what the ladders show.

use tcp_trace_core::{
    explain::{Language, Library},
    timeline::Life,
};
use tcp_trace_model::{
    event::{Flags, State},
    record::{Connection, How, Http, Integrity, Outcome, RouteType, Tls, Transition},
};

/// Topics that are referred to at most.
const TOPICS_MAX: usize = 8;

/// The topics that a ladder can refer to beside those that are called as what was recorded: status codes, errors, and
/// the kernel's reasons.
mod topic {
    pub(super) const LOST: &str = "LOST";
    pub(super) const GAP: &str = "GAP";
    pub(super) const OUTCOME: &str = "outcome";
    pub(super) const INTEGRITY: &str = "integrity";
    pub(super) const RST: &str = "RST";
    pub(super) const RETRANSMISSION: &str = "retransmission";
    pub(super) const ZERO_WINDOW: &str = "zero-window";
    pub(super) const SIMULTANEOUS_CLOSE: &str = "simultaneous-close";
    pub(super) const URL: &str = "life-of-a-URL";
    pub(super) const NEXT_HOP: &str = "next-hop";
    pub(super) const TLS: &str = "TLS-handshake";
    pub(super) const HANDSHAKE: &str = "three-way-handshake";
    pub(super) const CLOSE: &str = "four-step-close";
    pub(super) const TIME_WAIT: &str = "TIME_WAIT";
    pub(super) const ESTIMATED: &str = "estimated";

    /// What went wrong first, then the life in its order. What is recorded comes between these two.
    pub(super) const FIRST: [&str; 2] = [LOST, GAP];
    pub(super) const THEN: [&str; 13] = [
        OUTCOME,
        INTEGRITY,
        RST,
        RETRANSMISSION,
        ZERO_WINDOW,
        SIMULTANEOUS_CLOSE,
        URL,
        NEXT_HOP,
        TLS,
        HANDSHAKE,
        CLOSE,
        TIME_WAIT,
        ESTIMATED,
    ];
}

/// What was found in what is drawn, each once.
#[derive(Debug, Default)]
pub(super) struct Found {
    fixed: Vec<&'static str>,
    /// Status codes, errors and reasons, which need not have a topic.
    recorded: Vec<String>,
}

impl Found {
    /// Takes what an end of a connection says.
    pub(super) fn life(&mut self, life: &Life) {
        life.transitions.iter().for_each(|transition| self.transition(transition));
        for segment in &life.segments {
            let flags = segment.flags.0;
            self.add_if(flags.has(Flags::RST), topic::RST);
            self.add_if(flags.has(Flags::SYN) && flags.has(Flags::ACK), topic::HANDSHAKE);
            self.add_if(flags.has(Flags::FIN), topic::CLOSE);
            self.add_if(segment.retransmit, topic::RETRANSMISSION);
        }
        if let Some(handshake) = &life.tls {
            self.tls(&handshake.tls);
        }
        life.exchanges.iter().for_each(|http| self.http(http));
        if let Some(summary) = &life.summary {
            self.summary(summary);
        }
    }

    fn add(&mut self, topic: &'static str) {
        if !self.fixed.contains(&topic) {
            self.fixed.push(topic);
        }
    }

    fn add_if(&mut self, is_found: bool, topic: &'static str) {
        if is_found {
            self.add(topic);
        }
    }

    /// Something that may be the name of a topic.
    fn add_recorded(&mut self, name: &str) {
        // What is no name of a topic is not kept beyond the few that are shown.
        if self.recorded.len() < TOPICS_MAX && !self.recorded.iter().any(|known| known == name) {
            self.recorded.push(name.to_owned());
        }
    }

    fn transition(&mut self, transition: &Transition) {
        self.add_if(transition.gap, topic::GAP);
        self.add_if(transition.estimated, topic::ESTIMATED);
        self.add_if(transition.new == State::TimeWait, topic::TIME_WAIT);
        self.add_if(transition.new == State::Closing, topic::SIMULTANEOUS_CLOSE);
    }

    fn tls(&mut self, tls: &Tls) {
        self.add(topic::TLS);
        if tls.hello_retry_request {
            self.add_recorded("HelloRetryRequest");
        }
        for name in tls.alerts.iter().filter_map(|alert| alert.name.as_deref()) {
            self.add_recorded(name);
        }
    }

    fn http(&mut self, http: &Http) {
        self.add_if(http.exchange.request.is_some() && http.exchange.url.is_some(), topic::URL);
        self.add_if(!matches!(http.exchange.outcome, Outcome::Ok | Outcome::Upgraded), topic::OUTCOME);
        self.add_if(http.exchange.integrity != Integrity::Complete, topic::INTEGRITY);
        if let Some(response) = &http.exchange.response
            && (response.status_code >= 400 || response.status_code == 101)
        {
            self.add_recorded(&response.status_code.to_string());
        }
    }

    fn summary(&mut self, summary: &Connection) {
        self.add_if(summary.zero_window.is_some(), topic::ZERO_WINDOW);
        let is_routed = summary.route.as_ref().is_some_and(|route| route.kind != RouteType::Local);
        self.add_if(is_routed, topic::NEXT_HOP);
        if let Some(reason) = &summary.close.reason {
            self.add_recorded(reason);
        }
        // Where it is stuck, or was.
        let is_stuck = matches!(summary.close.how, How::Open | How::Abandoned | How::Timeout);
        if let Some(last) = summary.states.last()
            && is_stuck
            && last.state != State::Established
        {
            self.add_recorded(last.state.name());
        }
    }

    /// The names of the topics that are worth reading, the most telling first.
    pub(super) fn names(&self, has_losses: bool) -> Vec<&'static str> {
        let library = Library::new(Language::En);
        let named = |name: &str| library.topics().find(|topic| topic.names.contains(&name));
        let is_found = |name: &&str| self.fixed.contains(name) || (has_losses && *name == topic::LOST);
        let fixed = |all: &'static [&'static str]| all.iter().filter(|name| is_found(name)).copied();
        let recorded = self.recorded.iter().filter_map(|name| Some(named(name)?.name()));
        let mut names = Vec::new();
        for name in fixed(&topic::FIRST).chain(recorded).chain(fixed(&topic::THEN)) {
            if names.len() < TOPICS_MAX && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_that_is_referred_to_exists_in_both_languages() {
        for language in [Language::En, Language::Zh] {
            let library = Library::new(language);
            for name in topic::FIRST.iter().chain(&topic::THEN) {
                assert!(library.topics().any(|topic| topic.name() == *name), "{name} in {language:?}");
            }
        }
    }
}
