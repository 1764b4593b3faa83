//! Captured output on its way to standard output, in pieces that end anywhere.

use super::screen::many_lines;

/// How the bytes of a service are passed on.
#[derive(Debug)]
pub(crate) enum Passage {
    /// As they are, into files and pipes.
    Raw,
    /// To a terminal, which no byte of a service may steer; holds the start of a character that is not complete.
    Escaped(Vec<u8>),
}

impl Passage {
    /// What can be printed of `piece` and what was held back before it.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => piece.to_vec(),
            Self::Escaped(held) => {
                held.extend_from_slice(piece);
                let whole = complete_characters(held);
                let rest = held.split_off(whole);
                readable(&std::mem::replace(held, rest)).into_bytes()
            }
        }
    }

    /// What was held back when no more comes.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Raw => Vec::new(),
            Self::Escaped(held) => readable(&held).into_bytes(),
        }
    }
}

/// How many of `bytes` can be shown: all but a character at the end whose last bytes are still to come.
fn complete_characters(bytes: &[u8]) -> usize {
    match bytes.utf8_chunks().last().map(|chunk| chunk.invalid()) {
        Some(invalid) if std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none()) => {
            bytes.len() - invalid.len()
        }
        Some(_) | None => bytes.len(),
    }
}

/// Text with its lines and tabs, all else that is no visible character escaped.
fn readable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&many_lines(chunk.valid()));
        out.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(mut passage: Passage, bytes: &[u8], step: usize) -> String {
        let mut out: Vec<u8> = bytes.chunks(step).flat_map(|piece| passage.feed(piece)).collect();
        out.extend(passage.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_byte_of_a_service_steers_a_terminal_wherever_pieces_end() {
        let bytes = "größe 大\x1b[2J\r\n\tend".as_bytes();
        for step in [1, 2, 3, 100] {
            assert_eq!(pass(Passage::Escaped(vec![]), bytes, step), "größe 大\\x1b[2J\\r\n\tend", "{step}");
            assert_eq!(pass(Passage::Escaped(vec![]), b"a\xff\xe5\xa4", step), "a\\xff\\xe5\\xa4", "{step}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_a_service_can_write_steers_a_terminal(bytes: Vec<u8>, step in 1_usize..9) {
            let shown = pass(Passage::Escaped(vec![]), &bytes, step);
            assert!(shown.chars().all(|c| !c.is_control() || "\n\t".contains(c)), "{shown:?}");
        }
    }

    #[test]
    fn a_pipe_gets_the_bytes_as_they_were_written() {
        assert_eq!(Passage::Raw.feed(b"\x1b[2J\xff"), b"\x1b[2J\xff");
    }
}
