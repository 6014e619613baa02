//! Tests of which attempts are looked at.

use super::*;

#[test]
fn of_many_attempts_the_first_and_the_last_are_kept() {
    for (most, expected, is_all) in [
        (0, vec![1, 5], false),
        (3, vec![1, 5], false),
        (4, vec![1, 2, 4, 5], false),
        (6, vec![1, 2, 3, 4, 5], true),
    ] {
        let attempts = [1, 2, 3, 4, 5];
        let (first, last) = ends(&attempts, most);
        let kept = [first, last].concat();
        assert_eq!((kept.len() == attempts.len(), kept), (is_all, expected), "{most}");
    }
}
