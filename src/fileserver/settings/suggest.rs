/// The one of `known` that `word` was probably meant to be.
pub(super) fn suggest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let folded = word.to_ascii_lowercase().replace('-', "_");
    let distances = known.iter().map(|candidate| (distance(&folded, candidate), *candidate));
    // A third of the letters may be wrong: more would suggest words at random.
    let near = distances.filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3);
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Letters to insert, remove, exchange or swap to get from one word to the other (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before_last = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let exchanged = last[j] + usize::from(a != b);
            let mut least = exchanged.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let known = ["listen", "base_path", "client_timeout", "idle_conn_timeout"];
        for (word, meant) in [
            ("lisen", Some("listen")),
            ("litsen", Some("listen")),
            ("Base-Path", Some("base_path")),
            ("client_timeuot", Some("client_timeout")),
            ("idle_timeout", Some("idle_conn_timeout")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(suggest(word, &known), meant, "{word}");
        }
    }
}
