use std::{fmt, str::FromStr};

/// A number of bytes; text is a number with an optional K, M, G or T (1024 each), `B` and `iB` being allowed after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {0:?} as a size (write a number of bytes, or one with K, M, G or T)")]
pub struct SizeError(pub String);

impl ByteSize {
    /// For people, where it was measured: in the largest unit that it has one of, with one decimal unless it is whole.
    pub fn rounded(self) -> String {
        let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        match units.into_iter().find(|(shift, _)| self.0 >> shift > 0) {
            Some((shift, unit)) if !self.0.is_multiple_of(1 << shift) => {
                let tenths = (u128::from(self.0) * 10 + (1 << (shift - 1))) >> shift;
                format!("{}.{}{unit}", tenths / 10, tenths % 10)
            }
            _ => self.to_string(),
        }
    }
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let refused = || SizeError(text.to_owned());
        let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, suffix) = text.split_at(digits_end);
        let shift = match suffix.trim() {
            "" | "B" => 0,
            "K" | "KB" | "KiB" => 10,
            "M" | "MB" | "MiB" => 20,
            "G" | "GB" | "GiB" => 30,
            "T" | "TB" | "TiB" => 40,
            _ => return Err(refused()),
        };
        let number: u64 = digits.parse().map_err(|_| refused())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        let exact = units.iter().find(|(shift, _)| self.0 != 0 && self.0.is_multiple_of(1 << shift));
        match exact {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_shown_in_the_unit_that_people_read() {
        let cases = [
            (0, "0"),
            (1023, "1023"),
            (1536, "1.5K"),
            (131_328 << 10, "128.3M"),
            (80 << 20, "80M"),
            (67_331_932 << 10, "64.2G"),
            (3 << 39, "1.5T"),
            (u64::MAX, "16777216.0T"),
        ];
        for (bytes, text) in cases {
            assert_eq!(ByteSize(bytes).rounded(), text);
        }
    }

    #[test]
    fn sizes_are_read_and_shown_alike() {
        for (text, bytes) in [("0", 0), ("10", 10), ("4K", 4096), ("3MiB", 3 << 20), ("2G", 2 << 30), ("1T", 1 << 40)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!(ByteSize(3 << 20).to_string(), "3M");
        for bad in ["", "K", "1X", "-1", "99999999999999999999", "18446744073709551615K"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
