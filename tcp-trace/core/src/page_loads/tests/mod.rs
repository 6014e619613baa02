//! What exchanges are grouped into.

mod grouping;
mod inferred;

use tcp_trace_model::record::Http;

use super::{
    Group, Link, Subject, groups,
    testing::{Exchange, get, recorded},
};

/// Groups as text: the subject, and each target with what put it there.
fn grouped(exchanges: &[Exchange]) -> Vec<String> {
    let exchanges = recorded(exchanges);
    let exchanges: Vec<_> = exchanges.iter().collect();
    groups(&exchanges).iter().flat_map(|group| lines(group, &exchanges)).collect()
}

fn lines(group: &Group, exchanges: &[&Http]) -> Vec<String> {
    let subject = match &group.subject {
        Subject::Page(address) => format!("page {address}"),
        Subject::UnseenPage(address) => format!("unseen {address}"),
        Subject::Others => "others".to_owned(),
    };
    let members = group.members.iter().map(|member| {
        let target = exchanges[member.exchange].exchange.request.as_ref().map(|request| &request.target);
        let target = target.map_or(String::new(), |target| target.printable().to_string());
        let why = if member.link == Link::Referer { String::new() } else { format!(" {:?}", member.link) };
        format!("  {target}{why}")
    });
    [subject].into_iter().chain(members).collect()
}
