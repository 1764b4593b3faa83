use std::fmt::Display;

/// So many of something, for people: `1 restart`, `3 restarts`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let texts = [0_u32, 1, 2].map(|count| counted(count, "probe"));
        assert_eq!(texts, ["0 probes", "1 probe", "2 probes"]);
    }
}
