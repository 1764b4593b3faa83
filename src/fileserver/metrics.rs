use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

/// Upper bounds of the duration histogram, in microseconds; a large upload takes minutes.
const DURATION_BOUNDS_US: [u64; 11] =
    [500, 1000, 2500, 5000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000, 60_000_000];
/// Upper bounds of the size histogram, in bytes.
const SIZE_BOUNDS: [u64; 7] = [1 << 10, 16 << 10, 256 << 10, 1 << 20, 16 << 20, 256 << 20, 1 << 30];
/// The media type of what [`Metrics::render`] returns. Source: Prometheus exposition formats.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that exist now.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    count: AtomicU64,
    /// Whoever waits is told that it is another number now.
    pub(super) changed: Notify,
}

impl Gauge {
    /// One more, until what is returned is dropped.
    pub(super) fn hold(&self) -> Held<'_> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Held(self)
    }
}

/// One thing that exists.
#[derive(Debug)]
pub(super) struct Held<'a>(&'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

/// Counts of values up to each bound.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    bounds: [u64; N],
    counts: [AtomicU64; N],
    count: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: [u64; N]) -> Self {
        Self {
            bounds,
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn observe(&self, value: u64) {
        if let Some(index) = self.bounds.iter().position(|bound| value <= *bound) {
            self.counts[index].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The lines of one series; `labels` ends with a comma where there are any, `show` writes a value in its unit.
    fn render(&self, text: &mut Text, name: &str, labels: &str, show: impl Fn(u64) -> String) {
        let mut below = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            below += count.load(Ordering::Relaxed);
            text.line(format_args!("{name}_bucket{{{labels}le=\"{}\"}} {below}", show(*bound)));
        }
        let count = self.count.load(Ordering::Relaxed);
        let plain = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.trim_end_matches(',')) };
        text.line(format_args!("{name}_bucket{{{labels}le=\"+Inf\"}} {count}"));
        text.line(format_args!("{name}_sum{plain} {}", show(self.sum.load(Ordering::Relaxed))));
        text.line(format_args!("{name}_count{plain} {count}"));
    }
}

/// All that is counted. Labels are closed lists, so the number of series is bounded.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) upload_success: Counter,
    upload_failure: Mutex<BTreeMap<&'static str, u64>>,
    pub(super) upload_bytes: Counter,
    pub(super) uploads_active: Gauge,
    pub(super) upload_size: Histogram<7>,
    pub(super) bytes_received: Counter,
    pub(super) bytes_sent: Counter,
    pub(super) downloads: Counter,
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    durations: BTreeMap<&'static str, Histogram<11>>,
    pub(super) reload_success: Counter,
    pub(super) reload_failure: Counter,
    pub(super) parts_swept: Counter,
}

/// What only others know at the moment of a scrape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scrape {
    pub(super) connections_open: usize,
    pub(super) connections_accepted: u64,
    pub(super) storage_free: Option<u64>,
    pub(super) is_draining: bool,
}

/// The methods that have series of their own.
const METHODS: [&str; 5] = ["GET", "HEAD", "OPTIONS", "PUT", "other"];

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            upload_success: Counter::default(),
            upload_failure: Mutex::default(),
            upload_bytes: Counter::default(),
            uploads_active: Gauge::default(),
            upload_size: Histogram::new(SIZE_BOUNDS),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            downloads: Counter::default(),
            requests: Mutex::default(),
            durations: METHODS.into_iter().map(|method| (method, Histogram::new(DURATION_BOUNDS_US))).collect(),
            reload_success: Counter::default(),
            reload_failure: Counter::default(),
            parts_swept: Counter::default(),
        }
    }

    pub(super) fn upload_failed(&self, reason: &'static str) {
        *self.upload_failure.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    pub(super) fn answered(&self, method: &str, status: u16, duration: Duration) {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((method, status)).or_default() += 1;
        if let Some(histogram) = self.durations.get(method) {
            histogram.observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Everything in the Prometheus text format.
    pub(super) fn render(&self, scrape: Scrape) -> String {
        let mut text = Text::default();
        self.render_uploads(&mut text);
        self.render_requests(&mut text);
        let counter = |text: &mut Text, name, help, value| text.single(name, "counter", help, value);
        let gauge = |text: &mut Text, name, help, value| text.single(name, "gauge", help, value);
        let open = scrape.connections_open as u64;
        gauge(&mut text, "connections_active", "Connections open now.", open);
        let accepted = scrape.connections_accepted;
        counter(&mut text, "connections_accepted_total", "Connections accepted.", accepted);
        if let Some(free) = scrape.storage_free {
            gauge(&mut text, "storage_free_bytes", "Bytes the store's file system has free.", free);
        }
        gauge(&mut text, "draining", "1 while the server is on its way out.", u64::from(scrape.is_draining));
        let swept = self.parts_swept.value();
        counter(&mut text, "parts_swept_total", "Partial files of dead uploads that were removed.", swept);
        text.head("config_reloads_total", "counter", "Reloads of the settings.");
        for (result, counter) in [("success", &self.reload_success), ("failure", &self.reload_failure)] {
            text.line(format_args!("config_reloads_total{{result=\"{result}\"}} {}", counter.value()));
        }
        text.head("build_info", "gauge", "The version that runs.");
        text.line(format_args!("build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
        text.0
    }

    /// How many uploads are in flight.
    pub(super) fn uploads_in_flight(&self) -> u64 {
        self.uploads_active.count.load(Ordering::Relaxed)
    }

    fn render_uploads(&self, text: &mut Text) {
        text.single("upload_success_total", "counter", "Uploads stored.", self.upload_success.value());
        text.head("upload_failure_total", "counter", "Uploads refused or failed, by reason.");
        for (reason, count) in self.upload_failure.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            text.line(format_args!("upload_failure_total{{reason=\"{reason}\"}} {count}"));
        }
        text.single("upload_bytes_total", "counter", "Bytes of uploads stored.", self.upload_bytes.value());
        text.single("upload_sessions_active", "gauge", "Uploads in flight.", self.uploads_in_flight());
        text.head("upload_size_bytes", "histogram", "Sizes of uploads stored.");
        self.upload_size.render(text, "upload_size_bytes", "", |bytes| bytes.to_string());
    }

    fn render_requests(&self, text: &mut Text) {
        text.single("bytes_received_total", "counter", "Bytes of request bodies.", self.bytes_received.value());
        text.single("bytes_sent_total", "counter", "Bytes of files sent.", self.bytes_sent.value());
        text.single("downloads_total", "counter", "Files and parts of files sent.", self.downloads.value());
        text.head("requests_total", "counter", "Requests answered.");
        for ((method, status), count) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            text.line(format_args!("requests_total{{method=\"{method}\",status=\"{status}\"}} {count}"));
        }
        let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        text.head("request_duration_seconds", "histogram", "From the head of a request to the head of its answer.");
        for (method, histogram) in &self.durations {
            histogram.render(text, "request_duration_seconds", &format!("method=\"{method}\","), seconds);
        }
    }
}

/// The text in the making.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "{line}");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.line(format_args!("{name} {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::new();
        metrics.upload_success.add(2);
        metrics.upload_failed("exists");
        metrics.upload_size.observe(2000);
        metrics.answered("PUT", 201, Duration::from_millis(3));
        metrics.answered("BREW", 405, Duration::from_secs(100));
        let held = metrics.uploads_active.hold();
        let scrape = Scrape { connections_open: 3, connections_accepted: 9, storage_free: Some(1), is_draining: true };
        let text = metrics.render(scrape);
        for line in [
            "upload_success_total 2",
            "upload_failure_total{reason=\"exists\"} 1",
            "upload_sessions_active 1",
            "connections_active 3",
            "draining 1",
            "upload_size_bytes_bucket{le=\"1024\"} 0",
            "upload_size_bytes_bucket{le=\"16384\"} 1",
            "upload_size_bytes_bucket{le=\"+Inf\"} 1",
            "upload_size_bytes_sum 2000",
            "requests_total{method=\"PUT\",status=\"201\"} 1",
            "requests_total{method=\"other\",status=\"405\"} 1",
            "request_duration_seconds_bucket{method=\"PUT\",le=\"0.002500\"} 0",
            "request_duration_seconds_bucket{method=\"PUT\",le=\"0.005000\"} 1",
            "request_duration_seconds_sum{method=\"other\"} 100.000000",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
        drop(held);
        assert!(metrics.render(scrape).contains("upload_sessions_active 0\n"));
    }
}
