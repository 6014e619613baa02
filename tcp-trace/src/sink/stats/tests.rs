//! How figures are printed.

use tcp_trace_core::{
    diagnosis::testing_http::{exchange, unanswered},
    prose::Palette,
    stats::Dimension,
};
use tcp_trace_model::{
    event::Role,
    record::{Outcome, Ready, Record},
    time::Time,
};

use super::*;

fn stats() -> Stats {
    let mut stats = Stats::new(Dimension::Path);
    stats.record(&Record::Ready(Ready { time: Time(0) }));
    for number in 0..1500 {
        let mut http = exchange(Role::Client, number, number);
        http.exchange.timing.total_us = 1000 + number;
        let request = http.exchange.request.as_mut().unwrap();
        request.target = format!("/orders/{number}").as_str().into();
        http.exchange.url = Some(request.url());
        stats.record(&Record::Http(http));
    }
    let mut bad = exchange(Role::Client, 1, 2000);
    bad.exchange.response.as_mut().unwrap().status_code = 502;
    stats.record(&Record::Http(bad));
    stats.record(&Record::Http(unanswered(Role::Client, 2, 3000, Outcome::Reset)));
    stats.record(&Record::Ready(Ready { time: Time(3_000_000_000) }));
    stats
}

#[test]
fn figures_of_all_and_of_each_group() {
    let table = StatsTable::new(Palette::PLAIN, Some(110)).of(&stats(), StatsOrder::Requests, 20);
    insta::assert_snapshot!("figures", table);
}

#[test]
fn columns_give_way_in_their_order() {
    for columns in [60, 80, 100, 120] {
        let table = StatsTable::new(Palette::PLAIN, Some(columns)).of(&stats(), StatsOrder::Failed, 1);
        for line in table.lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
    }
    let narrow = StatsTable::new(Palette::PLAIN, Some(60)).of(&stats(), StatsOrder::Failed, 1);
    assert!(narrow.contains("REQUESTS    FAILED       P99  PATH"), "{narrow}");
}

#[test]
fn other_programs_get_the_same() {
    let json: serde_json::Value =
        serde_json::from_str(&stats_json(&stats(), StatsOrder::Requests, 1)).unwrap();
    assert_eq!(
        (&json["requests"], &json["failed"], &json["duration_us"]),
        (&1502.into(), &2.into(), &3_000_000.into())
    );
    assert_eq!(json["statuses"], serde_json::json!({ "200": 1500, "502": 1 }));
    assert_eq!(json["groups"][0]["path"], "POST /orders/{n}");
    assert_eq!((&json["groups"][0]["requests"], &json["groups_not_shown"]), (&1500.into(), &1.into()));
    let csv = stats_csv(&stats(), StatsOrder::Requests, 0);
    let lines: Vec<_> = csv.lines().collect();
    assert!(lines[0].starts_with("path,requests,per_second,failed,"), "{csv}");
    assert!(lines[1].starts_with("POST /orders/{n},1500,500.000,0,"), "{csv}");
    assert_eq!(lines.len(), 3);
}
