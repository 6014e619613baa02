//! Exchanges to groups: the pages of each client, and its other requests.

use std::collections::HashMap;

use tcp_trace_model::record::Http;

use super::{
    Client, Link,
    address::Address,
    headers::Facts,
    pages::{Choice, Pages, Spans},
};

/// Exchanges that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who sent the requests.
    pub client: Client,
    /// What they are.
    pub subject: Subject,
    /// The exchanges, in the order in which their requests began.
    pub members: Vec<Member>,
}

/// What a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A page, with the address of its document: behind redirects, the last one.
    Page(String),
    /// A page whose document is not among the exchanges: all have this Referer, or one that belongs to it.
    UnseenPage(String),
    /// Requests that nothing connects with a page.
    Others,
}

/// An exchange of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its index.
    pub exchange: usize,
    /// Why it is here.
    pub link: Link,
}

/// Groups exchanges, in the order of their beginnings and each once
/// ([`Pairs::exchanges`](crate::timeline::Pairs::exchanges)), into pages and others, in the order of their first requests.
pub fn groups(exchanges: &[&Http]) -> Vec<Group> {
    let mut all = All::default();
    let mut clients: HashMap<Client, Pages> = HashMap::new();
    for (at, http) in exchanges.iter().enumerate() {
        let client = Client::of(http);
        all.place(clients.entry(client.clone()).or_default(), client, at, http);
    }
    all.groups
}

/// The groups of all clients.
#[derive(Debug, Default)]
struct All {
    groups: Vec<Group>,
    spans: Spans,
}

impl All {
    fn place(&mut self, pages: &mut Pages, client: Client, at: usize, http: &Http) {
        let facts = Facts::of(http);
        let address = Address::of_request(http);
        let choice = match &address {
            Some(_) if client == Client::Unknown => Choice::Others,
            Some(address) => pages.choose(&self.spans, http, &facts, address),
            None => Choice::Others,
        };
        let mut subject = |subject| {
            let members = Vec::new();
            self.groups.push(Group { client: client.clone(), subject, members });
            self.spans.start(http, &facts);
            self.groups.len() - 1
        };
        let (group, link) = match (choice, &address) {
            (Choice::In(group, link), _) => (group, link),
            (Choice::Page, Some(address)) => (subject(Subject::Page(address.to_string())), Link::Document),
            (Choice::Unseen(referer), _) => {
                let group = subject(Subject::UnseenPage(referer.to_string()));
                pages.inferred(group, http, referer);
                (group, Link::Referer)
            }
            (Choice::Others | Choice::Page, _) => {
                (*pages.others.get_or_insert_with(|| subject(Subject::Others)), Link::None)
            }
        };
        self.groups[group].members.push(Member { exchange: at, link });
        let is_document = link == Link::Document || link == Link::Redirect && self.spans.is_redirected(group);
        self.spans.extend(group, http, is_document.then(|| facts.location.is_some()));
        if let (Some(address), true) = (address, link != Link::None) {
            if is_document {
                self.groups[group].subject = Subject::Page(address.to_string());
                pages.opened(group, &address);
            }
            pages.learn(group, http, address, &facts, is_document);
        }
    }
}
