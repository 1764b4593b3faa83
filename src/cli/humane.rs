//! Times and sizes as people say them.

/// Lengths in microseconds, longest first.
const SPANS: [(&str, u64); 6] = [
    ("y", 31_557_600_000_000),
    ("w", 604_800_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
];

/// A span in its two largest units: `3h 2min`; below a second `120ms`.
pub(crate) fn span(us: u64) -> String {
    let Some(index) = SPANS.iter().position(|(_, length)| us >= *length) else {
        return if us == 0 { "0s".to_owned() } else { format!("{}ms", us.div_ceil(1000)) };
    };
    let (name, length) = SPANS[index];
    let rest = us % length;
    match SPANS.get(index + 1) {
        Some((next, next_length)) if rest >= *next_length => {
            format!("{}{name} {}{next}", us / length, rest / next_length)
        }
        Some(_) | None => format!("{}{name}", us / length),
    }
}

/// How long something takes or took, precise where it is short: `3ms`, `1.23s`, `2min 5s`.
pub(crate) fn took(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{}ms", us / 1000),
        1_000_000..60_000_000 => format!("{}.{:02}s", us / 1_000_000, us % 1_000_000 / 10_000),
        _ => span(us),
    }
}

/// A moment seen from `now_us`: `3h 2min ago`, `in 4s`, `just now`.
pub(crate) fn relative(at_us: i64, now_us: i64) -> String {
    let distance = at_us.abs_diff(now_us);
    if distance < 1_000_000 {
        "just now".to_owned()
    } else if at_us < now_us {
        format!("{} ago", span(distance))
    } else {
        format!("in {}", span(distance))
    }
}

/// Bytes with one digit after the point: `12.3M` (1024 each).
pub(crate) fn bytes(count: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    match units.iter().find(|(shift, _)| count >> shift != 0) {
        None => format!("{count}B"),
        Some((shift, unit)) => {
            let tenths = (u128::from(count) * 10) >> shift;
            format!("{}.{}{unit}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (120_000, "120ms"),
            (1_999_999, "1s"),
            (65_000_000, "1min 5s"),
            (10_920_000_000, "3h 2min"),
            (7_200_000_000, "2h"),
            (3_605_000_000, "1h"),
            (97_200_000_000, "1d 3h"),
            (700_000_000_000, "1w 1d"),
            (u64::MAX, "584542y 2w"),
        ];
        for (us, text) in cases {
            assert_eq!(span(us), text, "{us}");
        }
    }

    #[test]
    fn short_times_are_precise() {
        for (us, text) in [(7, "7us"), (3_400, "3ms"), (1_239_999, "1.23s"), (125_000_000, "2min 5s")] {
            assert_eq!(took(us), text, "{us}");
        }
    }

    #[test]
    fn moments_lie_before_or_after_now() {
        assert_eq!(relative(0, 5_000_000), "5s ago");
        assert_eq!(relative(5_000_000, 0), "in 5s");
        assert_eq!(relative(0, 999_999), "just now");
        assert_eq!(relative(i64::MIN, i64::MAX), "584542y 2w ago");
    }

    #[test]
    fn sizes_keep_one_digit() {
        for (count, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (12_900_000, "12.3M"), (u64::MAX, "16777215.9T")]
        {
            assert_eq!(bytes(count), text, "{count}");
        }
    }
}
