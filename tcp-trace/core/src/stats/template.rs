//! Paths with what differs from request to request taken out.

/// Hexadecimal digits from which a part of a path is a hash and no word.
const HASH_DIGITS: usize = 8;
/// Characters from which a part of a path with letters and digits is made by a program.
const TOKEN_CHARACTERS: usize = 16;
/// Bytes of a path that are looked at.
const PATH_MAX: usize = 512;

/// The path with its numbers, UUIDs, hashes and tokens named: `/users/{n}/orders/{uuid}`. What is beyond 512 bytes is cut off.
pub fn template(path: &str) -> String {
    let end = path.floor_char_boundary(PATH_MAX);
    let parts = path[..end].split('/').map(|part| match kind(part) {
        Some(kind) => kind.to_owned(),
        None => with_file(part).unwrap_or_else(|| part.to_owned()),
    });
    let template = parts.collect::<Vec<_>>().join("/");
    if end < path.len() { template + "…" } else { template }
}

/// What a part of a path stands for, if it is no word.
fn kind(part: &str) -> Option<&'static str> {
    let is_digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_hex = part.len() >= HASH_DIGITS && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has = |is: fn(&u8) -> bool| part.bytes().any(|byte| is(&byte));
    let has_both = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    let is_token =
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=' | b'~'))
            && part.split(['-', '_', '=', '~']).any(is_made);
    if is_digits {
        Some("{n}")
    } else if is_uuid(part) {
        Some("{uuid}")
    } else if is_hex && has_both {
        Some("{hash}")
    } else if is_token {
        Some("{token}")
    } else {
        None
    }
}

/// The same of a file's name: `1234.jpg` is `{n}.jpg`.
fn with_file(part: &str) -> Option<String> {
    let (name, extension) = part.split_once('.')?;
    let is_extension =
        (1..=8).contains(&extension.len()) && extension.bytes().any(|byte| byte.is_ascii_alphabetic());
    Some(format!("{}.{extension}", kind(name).filter(|_| is_extension)?))
}

/// Letters mixed with digits, more than people write.
fn is_made(part: &str) -> bool {
    let has = |is: fn(&u8) -> bool| part.bytes().any(|byte| is(&byte));
    part.len() >= TOKEN_CHARACTERS && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

/// RFC 9562, section 4.
fn is_uuid(part: &str) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let groups = part.split('-');
    let is_group = |(group, length): (&str, &usize)| {
        group.len() == *length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    groups.clone().count() == GROUPS.len() && groups.zip(&GROUPS).all(is_group)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_from_request_to_request_is_named() {
        for (path, expected) in [
            ("/", "/"),
            ("/api/items/903", "/api/items/{n}"),
            ("/api/v2/items", "/api/v2/items"),
            ("/users/123e4567-e89b-12d3-a456-426614174000/orders", "/users/{uuid}/orders"),
            ("/blobs/9f86d081884c7d659a2feaa0c55ad015", "/blobs/{hash}"),
            ("/commit/4d42f43a", "/commit/{hash}"),
            ("/deadbeef", "/deadbeef"),
            ("/facade", "/facade"),
            ("/img/1234.jpg", "/img/{n}.jpg"),
            ("/app.4d42f43a.js", "/app.4d42f43a.js"),
            ("/s/eyJhbGciOiJIUzI1NiIsInR5cCI6", "/s/{token}"),
            ("/docs/how-to-use-http2-in-2026", "/docs/how-to-use-http2-in-2026"),
            ("/a//7", "/a//{n}"),
            ("*", "*"),
            ("", ""),
            ("/größe/7", "/größe/{n}"),
        ] {
            assert_eq!(template(path), expected, "{path}");
        }
        let long = format!("/{}", "ä".repeat(PATH_MAX));
        assert!(template(&long).ends_with("ä…"), "cut between characters");
    }

    proptest! {
        #[test]
        fn a_template_is_its_own_template(path in "(/[a-z0-9{}.-]{0,24}){0,6}") {
            let once = template(&path);
            prop_assert_eq!(template(&once), once);
        }
    }
}
