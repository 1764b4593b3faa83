//! "Did you mean": the most similar of some words.

/// Longer words are not compared: nobody mistypes them into something else, and the cost grows with the square.
const WORD_CHARS_MAX: usize = 64;

/// The word that `wrong` most likely stands for, or `None` when none is near. Case, `_` and `-` do not count, so that
/// `RestartSec` finds `restart_sec`.
pub(super) fn similar<'w>(wrong: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let wrong = plain(wrong);
    let limit = match wrong.len() {
        0 => return None,
        n if n > WORD_CHARS_MAX => return None,
        1..=3 => 1,
        4..=8 => 2,
        _ => 3,
    };
    let near = |word: &'w str| {
        // Most words of a large set differ in length already.
        let length = word.chars().filter(|c| !is_separator(*c)).count();
        if length == 0 || length > WORD_CHARS_MAX || length.abs_diff(wrong.len()) > limit {
            return None;
        }
        let other = plain(word);
        let distance = distance(&wrong, &other);
        // A word of which nothing is left is not similar.
        (distance <= limit && distance < wrong.len().max(other.len())).then_some((distance, word))
    };
    words.into_iter().filter_map(near).min().map(|(_, word)| word)
}

/// `did you mean "x"?`, for a help line.
pub(super) fn did_you_mean<'w>(wrong: &str, words: impl IntoIterator<Item = &'w str>) -> Option<String> {
    similar(wrong, words).map(|word| format!("did you mean {word:?}?"))
}

/// Lower case, without separators.
pub(super) fn plain(word: &str) -> Vec<char> {
    word.chars().filter(|c| !is_separator(*c)).flat_map(char::to_lowercase).collect()
}

const fn is_separator(c: char) -> bool {
    matches!(c, '_' | '-')
}

/// Edit distance with neighbours swapped counting once (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut before_last = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                row[j + 1] = row[j + 1].min(before_last[j - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_word_is_found() {
        let words = ["restart", "restart_sec", "restart_steps", "user", "exec_start", "no"];
        let cases = [
            ("restrat_sec", Some("restart_sec")),
            ("RestartSec", Some("restart_sec")),
            ("execstart", Some("exec_start")),
            ("usr", Some("user")),
            ("on", Some("no")),
            ("colour", None),
            ("", None),
        ];
        for (wrong, meant) in cases {
            assert_eq!(similar(wrong, words), meant, "{wrong}");
        }
        assert_eq!(similar(&"x".repeat(10_000), words), None);
    }

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        for (a, b, edits) in
            [("abc", "acb", 1), ("abc", "abc", 0), ("abc", "xyz", 3), ("kitten", "sitting", 3), ("", "ab", 2)]
        {
            assert_eq!(distance(&chars(a), &chars(b)), edits, "{a} {b}");
        }
    }
}
