//! A part of a service's instances, as a number or a percentage.

use std::{fmt, str::FromStr};

/// `2`, or `25%`. Percentages round down, but never to nothing: one of three at 25 % is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(u32),
    /// So many of a hundred.
    Percent(u32),
}

/// Why a text is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no share of instances (a number from 1, or 1% to 100%)")]
pub struct ShareError(String);

impl Share {
    /// How many of `all` that is, at least 1 and at most all.
    pub fn of(self, all: u32) -> u32 {
        let count = match self {
            Self::Count(count) => count,
            Self::Percent(percent) => u32::try_from(u64::from(all) * u64::from(percent) / 100).unwrap_or(all),
        };
        count.max(1).min(all)
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let refused = || ShareError(text.to_owned());
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
                Ok(_) | Err(_) => Err(refused()),
            },
            None => match text.parse() {
                Ok(0) | Err(_) => Err(refused()),
                Ok(count) => Ok(Self::Count(count)),
            },
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_down_but_never_to_nothing() {
        let of = |text: &str, all| text.parse::<Share>().unwrap().of(all);
        assert_eq!([of("25%", 3), of("25%", 4), of("25%", 7), of("25%", 8), of("100%", 7)], [1, 1, 1, 2, 7]);
        assert_eq!([of("2", 1), of("2", 5), of("1%", 1_000_000)], [1, 2, 10_000]);
        assert_eq!(of("3", 0), 0);
        for bad in ["", "0", "0%", "101%", "-1", "x", "1.5", "%", "5 %"] {
            assert!(bad.parse::<Share>().is_err(), "{bad:?}");
        }
    }
}
