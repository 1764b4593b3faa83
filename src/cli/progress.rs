//! One line on the terminal that says what we wait for. It appears only when the wait is long enough to be noticed.

use std::io::{self, IsTerminal, Write};

use super::{http::TICK, humane, screen::cut};

/// Ticks before the line appears: 300 ms.
const QUIET_TICKS: u32 = 3;
/// One per tick.
const WHEEL: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠇", "⠏", "⠛"];

/// The line, on standard error; dropped, it is wiped away.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Columns of the terminal; `None` when standard error is none, and nothing is shown.
    width: Option<usize>,
    shown: bool,
}

impl Progress {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        let stderr = io::stderr();
        let width = terminal_size::terminal_size_of(&stderr).map_or(80, |(width, _)| usize::from(width.0));
        Self { width: stderr.is_terminal().then_some(width), shown: false }
    }

    /// Whether anyone looks.
    pub(crate) const fn is_visible(&self) -> bool {
        self.width.is_some()
    }

    /// Shows `text`, at once.
    pub(crate) fn show_now(&mut self, ticks: u32, text: &str) {
        self.show(ticks.saturating_add(QUIET_TICKS), text);
    }

    /// Takes it away, for what is to stay.
    pub(crate) fn wipe(&mut self) {
        if std::mem::take(&mut self.shown) {
            write!(io::stderr(), "\r\x1b[K").ok();
        }
    }

    /// Shows `text` and how long it has been, after `ticks` of waiting.
    pub(crate) fn show(&mut self, ticks: u32, text: &str) {
        let Some(width) = self.width.filter(|_| ticks >= QUIET_TICKS) else { return };
        let line = line(ticks, text, width);
        // A terminal that is gone is noticed by whoever writes the result.
        write!(io::stderr(), "\r\x1b[K{line}").ok();
        self.shown = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.wipe();
    }
}

fn line(ticks: u32, text: &str, width: usize) -> String {
    let waited = u64::try_from(TICK.as_micros()).unwrap_or(u64::MAX).saturating_mul(u64::from(ticks));
    let wheel = WHEEL[ticks as usize % WHEEL.len()];
    // One column stays free, or some terminals would wrap.
    cut(&format!("{wheel} {} {text}", humane::span(waited / 1_000_000 * 1_000_000)), width.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_the_terminal() {
        assert_eq!(
            line(25, "restart: web is deactivating (stop-sigterm)", 80),
            "⠙ 2s restart: web is deactivating (stop-sigterm)"
        );
        assert_eq!(line(650, "restart: web is deactivating", 20), "⠸ 1min 5s restart:…");
    }
}
