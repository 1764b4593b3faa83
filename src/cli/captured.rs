//! Captured output on its way to standard output, in pieces that end anywhere.

use serde::Serialize;

use super::screen::many_lines;

/// Longest line of JSON output; a longer one is broken.
const LINE_BYTES_MAX: usize = 64 << 10;

/// How the bytes of a service are passed on.
#[derive(Debug)]
pub(crate) enum Passage {
    /// As they are, into files and pipes.
    Raw,
    /// To a terminal, which no byte of a service may steer; holds the start of a character that is not complete.
    Escaped(Vec<u8>),
    /// A JSON object per line; holds the unit and the start of a line.
    Json(String, Vec<u8>),
}

/// One line of output, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    unit: &'a str,
    line: &'a str,
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
            Self::Json(unit, held) => {
                let mut out = Vec::new();
                for mut part in piece.split_inclusive(|byte| *byte == b'\n') {
                    while !part.is_empty() {
                        let (fits, rest) = part.split_at(part.len().min(LINE_BYTES_MAX - held.len()));
                        held.extend_from_slice(fits);
                        if held.ends_with(b"\n") || held.len() == LINE_BYTES_MAX {
                            push_json(&mut out, unit, held);
                            held.clear();
                        }
                        part = rest;
                    }
                }
                out
            }
        }
    }

    /// What was held back when no more comes.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Raw => Vec::new(),
            Self::Escaped(held) => readable(&held).into_bytes(),
            Self::Json(_, held) if held.is_empty() => Vec::new(),
            Self::Json(unit, held) => {
                let mut out = Vec::new();
                push_json(&mut out, &unit, &held);
                out
            }
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

fn push_json(out: &mut Vec<u8>, unit: &str, line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    let line = Line { unit, line: text.strip_suffix('\n').unwrap_or(&text) };
    // Two strings always have a JSON form, and a Vec takes any number of bytes.
    serde_json::to_writer(&mut *out, &line).ok();
    out.push(b'\n');
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

    #[test]
    fn a_pipe_gets_the_bytes_as_they_were_written() {
        assert_eq!(Passage::Raw.feed(b"\x1b[2J\xff"), b"\x1b[2J\xff");
    }

    #[test]
    fn json_has_an_object_per_line() {
        for step in [1, 4, 100] {
            let passage = Passage::Json("web".into(), vec![]);
            let expected = "{\"unit\":\"web\",\"line\":\"a \\\"b\\\"\"}\n{\"unit\":\"web\",\"line\":\"\"}\n{\"unit\":\"web\",\"line\":\"c\"}\n";
            assert_eq!(pass(passage, b"a \"b\"\n\nc", step), expected, "{step}");
        }
        for (length, lines) in [(LINE_BYTES_MAX, 1), (LINE_BYTES_MAX + 1, 2)] {
            let long = pass(Passage::Json("web".into(), vec![]), &vec![b'x'; length], 1000);
            assert_eq!(long.lines().count(), lines, "{length}");
        }
    }
}
