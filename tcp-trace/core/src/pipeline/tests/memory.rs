//! Memory that is used again.

use tcp_trace_model::record::{Http, Outcome};

use super::*;

fn exchanges(host: &Host) -> Vec<&Http> {
    fn of(record: &Record) -> Option<&Http> {
        match record {
            Record::Http(http) => Some(http),
            _ => None,
        }
    }
    host.out.iter().filter_map(of).collect()
}

#[test]
fn an_exchange_has_nothing_of_the_one_whose_memory_it_uses() {
    let mut first = Host::new(Filter::default());
    first.handshake();
    first.exchange();
    let mut other = exchanges(&first)[0].clone();
    other.exchange.outcome = Outcome::Invalid;
    other.exchange.informational = vec![103];
    (other.exchange.reason, other.exchange.missing, other.exchange.index) =
        (Some("nothing fits".into()), Some(7), 99);
    let mut second = Host::new(Filter::default());
    second.handshake();
    Pipeline::take_back(Record::Http(other));
    second.exchange();
    assert_eq!(exchanges(&second), exchanges(&first));
}
