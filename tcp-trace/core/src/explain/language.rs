//! In which language.

use std::ffi::OsStr;

/// A language of the notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English
    En,
    /// Simplified Chinese
    Zh,
}

impl Language {
    /// The language that `LC_ALL`, `LC_MESSAGES` and `LANG`, in this order, ask for: the first that is not empty
    /// counts (POSIX, Base Definitions, section 8.2).
    pub fn of_locale(variables: [Option<&OsStr>; 3]) -> Self {
        let locale = variables.into_iter().flatten().find(|value| !value.is_empty());
        let is_chinese = locale.is_some_and(|locale| locale.as_encoded_bytes().starts_with(b"zh"));
        if is_chinese { Self::Zh } else { Self::En }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_counts() {
        use Language::{En, Zh};
        for (variables, expected) in [
            ([None, None, None], En),
            ([None, None, Some("zh_CN.UTF-8")], Zh),
            ([None, None, Some("zh")], Zh),
            ([None, Some("en_GB.UTF-8"), Some("zh_CN.UTF-8")], En),
            ([Some("zh_TW"), Some("en_GB.UTF-8"), None], Zh),
            ([Some("C"), None, Some("zh_CN.UTF-8")], En),
            ([Some(""), Some(""), Some("zh_SG")], Zh),
            ([None, None, Some("de_DE.UTF-8")], En),
        ] {
            assert_eq!(
                Language::of_locale(variables.map(|value| value.map(OsStr::new))),
                expected,
                "{variables:?}"
            );
        }
    }
}
