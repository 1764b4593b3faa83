//! Range requests of RFC 9110, bounded. Pure.

use std::ops::Range;

/// Ranges one request may ask for; more are taken for an attack and the whole file is sent (RFC 9110, 14.2 allows it).
pub const RANGES_MAX: usize = 16;

/// What a Range header asks for, applied to a file of a known size. Source: RFC 9110, 14.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The whole file: no range, or one we may ignore.
    Whole,
    /// These parts, in the order asked for; none is empty.
    Parts(Vec<Range<u64>>),
    /// None of the ranges touches the file: 416.
    Nothing,
}

impl Wanted {
    /// Reads the value of a Range header; an unknown unit or a wrong syntax is ignored, as the RFC asks.
    pub fn read(header: Option<&str>, size: u64) -> Self {
        let Some((unit, list)) = header.and_then(|text| text.split_once('=')) else { return Self::Whole };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        let mut parts = Vec::new();
        let mut specs: usize = 0;
        for text in list.split(',').map(|text| text.trim_matches([' ', '\t'])) {
            // An empty list element counts for nothing (RFC 9110, 5.6.1).
            if text.is_empty() {
                continue;
            }
            specs += 1;
            let Some(spec) = Spec::read(text) else { return Self::Whole };
            if specs > RANGES_MAX {
                return Self::Whole;
            }
            parts.extend(spec.within(size));
        }
        // Overlapping ranges could ask for many times the file; whoever wants that much gets it once.
        let asked = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.end - part.start));
        match (specs, parts.is_empty()) {
            (0, _) => Self::Whole,
            (_, true) => Self::Nothing,
            (_, false) if asked > size => Self::Whole,
            (_, false) => Self::Parts(parts),
        }
    }
}

/// One range as it is written.
#[derive(Debug, Clone, Copy)]
enum Spec {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl Spec {
    fn read(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        Some(match (first, last) {
            ("", last) => Self::Last(number(last)?),
            (first, "") => Self::From(number(first)?),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                // Backwards is invalid, not unsatisfiable.
                if last < first {
                    return None;
                }
                Self::Between(first, last)
            }
        })
    }

    fn within(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first) => first..size,
            Self::Between(first, last) => first..last.saturating_add(1).min(size),
            Self::Last(length) => size.saturating_sub(length)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

/// Digits only; a number too large for us lies past any file.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let parts = |list: &[(u64, u64)]| Wanted::Parts(list.iter().map(|(start, end)| *start..*end).collect());
        for (header, wanted) in [
            ("bytes=0-499", parts(&[(0, 500)])),
            ("bytes=500-", parts(&[(500, 1000)])),
            ("bytes=-200", parts(&[(800, 1000)])),
            ("bytes=-5000", parts(&[(0, 1000)])),
            ("bytes=999-5000", parts(&[(999, 1000)])),
            ("Bytes=0-0", parts(&[(0, 1)])),
            ("bytes=0-0,-1", parts(&[(0, 1), (999, 1000)])),
            ("bytes= 0-1 ,, 5-6", parts(&[(0, 2), (5, 7)])),
            ("bytes=0-1,2000-", parts(&[(0, 2)])),
            ("bytes=0-99999999999999999999999", parts(&[(0, 1000)])),
            ("bytes=1000-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=1000-1001,3000-", Wanted::Nothing),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=1", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes 1-2", Wanted::Whole),
            ("bytes=0-,0-", Wanted::Whole),
        ] {
            assert_eq!(Wanted::read(Some(header), 1000), wanted, "{header}");
        }
        assert_eq!(Wanted::read(None, 1000), Wanted::Whole);
        assert_eq!(Wanted::read(Some("bytes=0-"), 0), Wanted::Nothing);
    }

    #[test]
    fn too_many_ranges_send_the_whole_file() {
        let many = |count: usize| format!("bytes={}", vec!["1-1"; count].join(","));
        assert!(matches!(Wanted::read(Some(&many(RANGES_MAX)), 1000), Wanted::Parts(_)));
        assert_eq!(Wanted::read(Some(&many(RANGES_MAX + 1)), 1000), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn parts_lie_within_the_file_and_are_no_more_than_it(
            header in "bytes=([0-9]{0,4}-?[0-9]{0,4},?){0,20}", size in 0u64..3000,
        ) {
            if let Wanted::Parts(parts) = Wanted::read(Some(&header), size) {
                prop_assert!(!parts.is_empty() && parts.len() <= RANGES_MAX);
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
                prop_assert!(parts.iter().map(|part| part.end - part.start).sum::<u64>() <= size);
            }
        }

        #[test]
        fn any_header_is_survived(header in ".{0,200}", size in any::<u64>()) {
            let _wanted = Wanted::read(Some(&header), size);
        }
    }
}
