//! Versions of HTTP.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::text::Word;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Version {
    /// Major version.
    pub major: u8,
    /// Minor version; 0 from HTTP/2 on, which has none.
    pub minor: u8,
}

impl Version {
    /// HTTP/1 with this minor version.
    pub const fn http1(minor: u8) -> Self {
        Self { major: 1, minor }
    }

    /// HTTP/2.
    pub const HTTP2: Self = Self { major: 2, minor: 0 };
}

impl Default for Version {
    fn default() -> Self {
        Self::http1(1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { major, minor: 0 } if *major > 1 => write!(f, "{major}"),
            Self { major, minor } => write!(f, "{major}.{minor}"),
        }
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        match (major.parse(), minor.parse()) {
            (Ok(major), Ok(minor)) => Ok(Self { major, minor }),
            _ => Err(format!("{text:?} is not a version of HTTP like \"1.1\"")),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Word::deserialize(deserializer)?.0.parse().map_err(D::Error::custom)
    }
}
