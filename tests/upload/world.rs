use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use roundsman::fileserver::{
    path::ObjectPath,
    secret::Secret,
    token::{Scheme, Signed, sign},
};

/// Longest wait for anything in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const SECRET: &[u8] = b"mysecret";

/// Gives the sockets to the server as a service manager does: descriptors 3 and 4, and its own pid.
const HAND_OVER: &str = r#"LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@" 3<&0 4<&1 </dev/null >&2"#;

/// A store, its sockets and its settings; they outlive the servers that use them, as with a service manager.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    http: TcpListener,
    metrics: TcpListener,
    notify: UnixDatagram,
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
}

impl World {
    /// A world whose settings have `lines` in `[server]`, and `uploads` in `[uploads]`.
    pub(crate) fn new(server: &str, uploads: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let world = Self { folder, http: listen(), metrics: listen(), notify };
        world.write_secret("secret", SECRET);
        world.write_settings(server, uploads, &["secret"]);
        world
    }

    pub(crate) fn write_secret(&self, name: &str, secret: &[u8]) {
        let path = self.folder.path().join(name);
        fs::write(&path, secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn write_settings(&self, server: &str, uploads: &str, secrets: &[&str]) {
        let root = self.folder.path().display();
        let secrets: Vec<_> = secrets.iter().map(|name| format!("\"{root}/{name}\"")).collect();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nmetrics_listen = \"127.0.0.1:0\"\n{server}\n\
             [uploads]\nstorage_path = \"{root}/store\"\n{uploads}\n[security]\nsecret_files = [{}]\n",
            secrets.join(", ")
        );
        fs::write(self.settings(), text).unwrap();
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.folder.path().join("hfs.toml")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(crate) fn parts(&self) -> usize {
        fs::read_dir(self.store().join(".hfs/parts")).unwrap().count()
    }

    /// Every stored file, relative to the store.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.store()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                // Of the entry itself: a link is a file here, wherever it leads.
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    found.push(entry.path().strip_prefix(self.store()).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    /// A server with inherited sockets, ready.
    pub(crate) fn start(&self) -> Server {
        let server = self.spawn(&[]);
        self.await_notice("READY=1");
        server
    }

    /// A server with inherited sockets and `environment`.
    pub(crate) fn spawn(&self, environment: &[(&str, &str)]) -> Server {
        self.spawn_with(environment, Stdio::null())
    }

    /// The same, with its log to `stderr`.
    #[expect(clippy::disallowed_methods, reason = "the test starts our own program")]
    pub(crate) fn spawn_with(&self, environment: &[(&str, &str)], stderr: Stdio) -> Server {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", HAND_OVER, env!("CARGO_BIN_EXE_hmac-file-server"), "--config"])
            .arg(self.settings())
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", "http:metrics")
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .envs(environment.iter().copied())
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(self.http.try_clone().unwrap())))
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(self.metrics.try_clone().unwrap())))
            .stderr(stderr);
        Server { child: command.spawn().unwrap() }
    }

    /// A server that binds its sockets itself, ready; and its address.
    #[expect(clippy::disallowed_methods, reason = "the test starts our own program")]
    pub(crate) fn start_alone(&self) -> (Server, SocketAddr) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hmac-file-server"));
        command.arg("--config").arg(self.settings()).env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let notice = self.await_notice("READY=1");
        let address = notice.split("STATUS=serving ").nth(1).unwrap().split(',').next().unwrap();
        (Server { child }, address.parse().unwrap())
    }

    /// The service manager is gone for a while, then there is another.
    pub(crate) fn replace_manager(&mut self, away: Duration) {
        let notify = self.folder.path().join("notify");
        fs::remove_file(&notify).unwrap();
        pause(away);
        self.notify = UnixDatagram::bind(notify).unwrap();
        self.notify.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// The next message to the service manager that has `part`.
    pub(crate) fn await_notice(&self, part: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notify.recv(&mut buffer).unwrap_or_else(|error| panic!("no {part}: {error}"));
            let notice = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if notice.contains(part) {
                return notice;
            }
        }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.http.local_addr().unwrap())
    }

    pub(crate) fn connect_metrics(&self) -> Client {
        Client::connect(self.metrics.local_addr().unwrap())
    }

    /// The value of one series.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let answer = self.connect_metrics().get("/metrics");
        let text = String::from_utf8(answer.body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }
}

impl Server {
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the test measures what the client sees")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the client of the test is slow on purpose")]
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Asks again and again until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never came to be that {what}");
        pause(Duration::from_millis(10));
    }
}

/// One connection of a client that speaks HTTP by hand, so that it can lie.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// Sends text as it is; a server that has closed already is not the sender's trouble.
    pub(crate) fn send(&mut self, text: &str) {
        let _closed = self.stream.write_all(text.as_bytes());
    }

    /// Reads a head; `None` when the server closes instead.
    fn read_head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
        Some(String::from_utf8(head).unwrap())
    }

    /// Reads one answer; `with_body` is false after HEAD.
    pub(crate) fn read(&mut self, with_body: bool) -> Option<Answer> {
        let head = self.read_head()?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        let length: usize = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
        if with_body && status >= 200 && status != 304 {
            answer.body.resize(length, 0);
            self.stream.read_exact(&mut answer.body).unwrap();
        }
        Some(answer)
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.read(true).expect("the server closed the connection instead of answering")
    }

    pub(crate) fn request(&mut self, method: &str, target: &str, fields: &str) -> Answer {
        self.send(&format!("{method} {target} HTTP/1.1\r\nhost: test\r\n{fields}\r\n"));
        self.read(method != "HEAD").expect("the server closed the connection instead of answering")
    }

    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.request("GET", target, "")
    }

    pub(crate) fn put(&mut self, target: &str, fields: &str, body: &[u8]) -> Answer {
        self.begin_put(target, fields, body.len());
        let _closed = self.stream.write_all(body);
        self.answer()
    }

    pub(crate) fn begin_put(&mut self, target: &str, fields: &str, length: usize) {
        self.send(&format!("PUT {target} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n{fields}\r\n"));
    }

    /// Whether the server closes the connection, with or without a reset, within `limit`.
    pub(crate) fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// The target of a PUT that is signed with `secret`.
pub(crate) fn signed_with(secret: &[u8], path: &str, length: usize, media_type: Option<&str>) -> String {
    let signed = Signed { path, length: length as u64, media_type: media_type.map(str::as_bytes) };
    let scheme = if media_type.is_some() { Scheme::V2 } else { Scheme::V };
    let tag = sign(scheme, signed, &Secret::new(secret).unwrap()).to_hex();
    format!("/{}?{scheme}={tag}", ObjectPath::new(path).unwrap().to_encoded())
}

/// The target of a PUT that the server grants.
pub(crate) fn signed(path: &str, length: usize) -> String {
    signed_with(SECRET, path, length, None)
}
