//! Any conversation: no more is lost of a phase than it lasted, and nothing where nothing was lost.

use proptest::prelude::*;

use super::*;

/// What may happen to the segment of a message.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    SentAgain(u64),
    Delayed(u64),
}

fn fates(is_lossy: bool) -> impl Strategy<Value = Vec<(Fate, u64)>> {
    let fate = if is_lossy {
        prop_oneof![
            Just(Fate::Arrives),
            (1..500_u64).prop_map(Fate::SentAgain),
            (1..500_u64).prop_map(Fate::Delayed)
        ]
        .boxed()
    } else {
        Just(Fate::Arrives).boxed()
    };
    prop::collection::vec((fate, 0..40_u64), 1..30)
}

/// The steps of a request and a response in segments of 100 bytes, by their time.
fn conversation(fates: &[(Fate, u64)], windows: &[(u64, bool, bool)]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut now = 1;
    for (index, at) in (0..REQUEST_LENGTH + RESPONSE_LENGTH).step_by(100).enumerate() {
        let (fate, pause) = fates[index % fates.len()];
        now += pause;
        let at_time = |ms| match at.checked_sub(REQUEST_LENGTH) {
            None => Request(ms, at, at + 100),
            Some(at) => Response(ms, at, at + 100),
        };
        match fate {
            Fate::Arrives => steps.push((now, at_time(now))),
            Fate::SentAgain(later) => {
                steps.extend([(now, at_time(now)), (now + later, at_time(now + later))]);
            }
            Fate::Delayed(later) => steps.push((now + later, at_time(now + later))),
        }
    }
    steps.extend(windows.iter().map(|&(ms, is_clients, is_full)| {
        (ms, if is_clients { ClientWindow(ms, is_full) } else { ServerWindow(ms, is_full) })
    }));
    steps.sort_by_key(|(ms, _)| *ms);
    steps.into_iter().map(|(_, step)| step).collect()
}

proptest! {
    #[test]
    fn no_more_is_lost_of_a_phase_than_it_lasted(
        fates in fates(true),
        windows in prop::collection::vec((0..3_000_u64, any::<bool>(), any::<bool>()), 0..10),
        is_client: bool,
    ) {
        let role = if is_client { Role::Client } else { Role::Server };
        let (exchanges, _) = play_with(role, &conversation(&fates, &windows), RESPONSE_LENGTH);
        for http in exchanges {
            let timing = &http.exchange.timing;
            let stalls = timing.stalls.clone().unwrap_or_default();
            for (us, stall) in
                [(timing.send_us, stalls.send), (timing.wait_us, stalls.wait), (timing.receive_us, stalls.receive)]
            {
                let (us, stall) = (us.unwrap_or(u64::MAX), stall.unwrap_or_default());
                prop_assert!(stall.retransmit_us <= us && stall.zero_window_us <= us, "{us} {stall:?}");
            }
        }
    }

    #[test]
    fn without_loss_nothing_is_told(fates in fates(false), is_client: bool) {
        let role = if is_client { Role::Client } else { Role::Server };
        let (exchanges, _) = play_with(role, &conversation(&fates, &[]), RESPONSE_LENGTH);
        prop_assert_eq!(exchanges.len(), 1);
        prop_assert_eq!(&exchanges[0].exchange.timing.stalls, &None);
    }
}
