//! The process filter through the lives of sockets.

use super::*;
use crate::tcp::{CLOSE_WAIT, FIN_WAIT1, LAST_ACK, LISTEN};

use Verdict::{Excluded, ExcludedUnreported, Pending, Selected, Undecided};

/// The verdict after a transition, when the process that runs then is excluded or not.
fn after(change: (u8, u8), known: Verdict, is_existing_loaded: bool, is_excluded: bool) -> Verdict {
    let is_by_process = crate::decide::transition::is_by_process(change.0, change.1);
    at_transition(change, is_by_process, known, false, is_existing_loaded).verdict(80, || is_excluded)
}

#[test]
fn a_client_is_judged_when_it_connects() {
    for (is_loaded, is_excluded, verdict) in [
        (true, true, ExcludedUnreported),
        (true, false, Selected),
        // User space may find it in the list of existing sockets.
        (false, true, Excluded),
        (false, false, Selected),
    ] {
        // An earlier incarnation's verdict does not count.
        for known in [Undecided, Selected, Excluded, ExcludedUnreported] {
            let after = after((CLOSE, SYN_SENT), known, is_loaded, is_excluded);
            assert_eq!(after, verdict, "loaded {is_loaded}, excluded {is_excluded}, was {known:?}");
        }
    }
}

#[test]
fn an_accepted_socket_waits_for_its_first_use() {
    assert_eq!(after((LISTEN, SYN_RECV), Undecided, true, true), Undecided);
    let accepted = after((SYN_RECV, ESTABLISHED), Undecided, true, true);
    assert_eq!(accepted, Pending);
    assert_eq!(at_use(accepted).verdict(40_000, || true), Excluded);
    assert_eq!(at_use(accepted).verdict(40_000, || false), Selected);
    // Never used: whoever closes it decides, and no softirq does.
    assert_eq!(after((ESTABLISHED, CLOSE_WAIT), accepted, true, true), Pending);
    assert_eq!(after((CLOSE_WAIT, LAST_ACK), accepted, true, true), Excluded);
    assert_eq!(after((ESTABLISHED, FIN_WAIT1), accepted, true, false), Selected);
}

#[test]
fn what_user_space_may_know_from_elsewhere_is_left_to_it() {
    let step = |is_process_known, is_existing_loaded| {
        at_transition((SYN_RECV, ESTABLISHED), false, Undecided, is_process_known, is_existing_loaded)
    };
    for (is_process_known, is_loaded, verdict) in
        [(false, true, Pending), (true, true, Undecided), (false, false, Undecided), (true, false, Undecided)]
    {
        assert_eq!(step(is_process_known, is_loaded), Step::Keep(verdict), "{is_process_known}, {is_loaded}");
    }
    // Listeners: others accept from them.
    assert_eq!(after((CLOSE, LISTEN), Undecided, true, true), Undecided);
    assert_eq!(after((LISTEN, CLOSE), Undecided, true, true), Undecided);
}

#[test]
fn what_is_selected_stays_selected() {
    for change in [(SYN_SENT, ESTABLISHED), (ESTABLISHED, FIN_WAIT1), (ESTABLISHED, CLOSE_WAIT)] {
        assert_eq!(after(change, Selected, true, true), Selected, "{change:?}");
    }
    assert_eq!(at_use(Selected), Step::Keep(Selected));
}

#[test]
fn what_is_excluded_is_selected_once_a_selected_process_uses_it() {
    for known in [Excluded, ExcludedUnreported] {
        assert_eq!(at_use(known).verdict(80, || true), known);
        assert_eq!(at_use(known).verdict(80, || false), Selected);
        // Who closes it uses it.
        assert_eq!(after((ESTABLISHED, FIN_WAIT1), known, true, true), known);
        assert_eq!(after((ESTABLISHED, FIN_WAIT1), known, true, false), Selected);
        // Whoever runs while segments arrive does not.
        for change in [(SYN_SENT, ESTABLISHED), (ESTABLISHED, CLOSE_WAIT), (LAST_ACK, CLOSE)] {
            assert_eq!(after(change, known, true, false), known, "{change:?}");
        }
    }
}

#[test]
fn connections_to_dns_servers_are_selected_without_a_look_at_the_process() {
    let step = at_transition((CLOSE, SYN_SENT), true, Undecided, false, true);
    assert_eq!(step.verdict(DNS_PORT, || unreachable!("nobody asks")), Selected);
}

#[test]
fn of_an_excluded_socket_only_its_end_is_reported() {
    use crate::tcp::{ACK, SYN};
    for (verdict, admitted) in [
        (Undecided, [true, true, true, true]),
        (Pending, [true, true, true, true]),
        (Selected, [true, true, true, true]),
        (Excluded, [false, false, true, true]),
        (ExcludedUnreported, [false, false, false, false]),
    ] {
        let flags = [ACK, SYN | ACK, FIN | ACK, RST];
        assert_eq!(flags.map(|flags| verdict.admits(flags)), admitted, "{verdict:?}");
        assert_eq!(verdict.is_excluded(), !admitted[0], "{verdict:?}");
    }
}
