//! The examples of RFC 7541, appendix C.

use super::*;

/// Blocks of one direction, each with its fields.
type Story<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)])];

const DATE: &str = "Mon, 21 Oct 2013 20:13:21 GMT";
const LATER: &str = "Mon, 21 Oct 2013 20:13:22 GMT";
const PLACE: &str = "https://www.example.com";
const COOKIE: &str = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const FIRST: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const SECOND: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];
const REDIRECT: &[(&str, &str)] =
    &[(":status", "302"), ("cache-control", "private"), ("date", DATE), ("location", PLACE)];
const REDIRECT_307: &[(&str, &str)] =
    &[(":status", "307"), ("cache-control", "private"), ("date", DATE), ("location", PLACE)];
const COMPRESSED: &[(&str, &str)] = &[
    (":status", "200"),
    ("cache-control", "private"),
    ("date", LATER),
    ("location", PLACE),
    ("content-encoding", "gzip"),
    ("set-cookie", COOKIE),
];

/// Each story, and the size of the table.
const STORIES: [(&str, Option<usize>, Story<'_>); 8] = [
    (
        "C.2.1",
        None,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &[("custom-key", "custom-header")],
        )],
    ),
    ("C.2.2", None, &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")])]),
    ("C.2.3", None, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")])]),
    ("C.2.4", None, &[("82", &[(":method", "GET")])]),
    (
        "C.3",
        None,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST),
            ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", THIRD),
        ],
    ),
    (
        "C.4",
        None,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST),
            ("8286 84be 5886 a8eb 1064 9cbf", SECOND),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD),
        ],
    ),
    (
        "C.5",
        Some(256),
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 \
                 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                REDIRECT,
            ),
            ("4803 3330 37c1 c0bf", REDIRECT_307),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a \
                 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d \
                 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                COMPRESSED,
            ),
        ],
    ),
    (
        "C.6",
        Some(256),
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d \
                 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                REDIRECT,
            ),
            ("4883 640e ffc1 c0bf", REDIRECT_307),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d \
                 d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 \
                 3d50 07",
                COMPRESSED,
            ),
        ],
    ),
];

#[test]
fn the_examples_decode() {
    for (name, size, story) in STORIES {
        let mut decoder = Decoder::new();
        if let Some(size) = size {
            decoder.table.resize(size);
        }
        for (hex, fields) in story {
            let expected: Vec<_> =
                fields.iter().map(|(name, value)| known(name.as_bytes(), value.as_bytes())).collect();
            assert_eq!(decoded(&mut decoder, &bytes(hex)).as_ref(), Ok(&expected), "{name}: {hex}");
        }
    }
}
