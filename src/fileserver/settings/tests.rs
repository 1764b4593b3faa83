use super::*;

fn problems(text: &str) -> Vec<(usize, usize, String)> {
    Settings::parse(text).unwrap_err().into_iter().map(|p| (p.line, p.column, p.text)).collect()
}

/// The text of the only problem.
fn problem(text: &str) -> String {
    let list = problems(text);
    assert_eq!(list.len(), 1, "{list:?}");
    list[0].2.clone()
}

#[test]
fn an_empty_file_means_the_defaults() {
    let settings = Settings::parse("").unwrap();
    assert_eq!(settings, Settings::defaults());
    assert_eq!(settings.server.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.server.metrics_listen.to_string(), "127.0.0.1:9090");
    assert_eq!(settings.server.connection_drain_timeout, Duration::from_secs(120));
    assert_eq!(settings.uploads.sync, SyncPolicy::Data);
    let missing = tempfile::tempdir().unwrap().path().join("none.toml");
    assert_eq!(Settings::load(&missing).unwrap(), settings);
}

#[test]
fn every_key_is_read() {
    let text = r#"
[server]
listen = "127.0.0.1:1234"
metrics_listen = ":99"
base_path = "/upload/"
graceful_shutdown_timeout = "300s"
connection_drain_timeout = "30"
shutdown_delay = 2
header_timeout = "5s"
idle_conn_timeout = "1min 30s"
client_timeout = "infinity"
max_connections = 10
max_idle_conns_per_host = 5
restart_grace_period = "60s"

[uploads]
storage_path = "/srv/files"
max_upload_size = "100M"
min_free_bytes = 4096
sync = "full"
schemes = ["v2"]
session_persistence = false
session_recovery_timeout = "300s"
client_reconnect_window = "120s"
upload_slot_ttl = "3600s"
retry_failed_uploads = false
max_upload_retries = 3

[security]
secret_files = ["/etc/new", "/etc/old"]
secret_environment = ["HFS_SECRET"]

[logging]
level = "debug"
format = "json"

[redis]
redisenabled = false
redisaddr = "redis-cluster:6379"
redishealthcheckinterval = "30s"
"#;
    let settings = Settings::parse(text).unwrap();
    assert_eq!(settings.server.listen, "127.0.0.1:1234".parse().unwrap());
    assert_eq!(settings.server.metrics_listen, "0.0.0.0:99".parse().unwrap());
    assert_eq!(settings.server.base_path.as_str(), "/upload/");
    let s = &settings.server;
    assert_eq!([s.graceful_shutdown_timeout, s.connection_drain_timeout].map(|t| t.as_secs()), [300, 30]);
    assert_eq!([s.shutdown_delay, s.header_timeout, s.idle_conn_timeout].map(|t| t.as_secs()), [2, 5, 90]);
    assert_eq!((s.client_timeout, s.max_connections), (FOREVER, 10));
    let expected = UploadSettings {
        storage_path: "/srv/files".into(),
        max_upload_size: 100 << 20,
        min_free_bytes: 4096,
        sync: SyncPolicy::Full,
        schemes: vec![Scheme::V2],
    };
    assert_eq!(settings.uploads, expected);
    assert_eq!(settings.secrets.files, [PathBuf::from("/etc/new"), PathBuf::from("/etc/old")]);
    assert_eq!(settings.secrets.environment, ["HFS_SECRET"]);
    assert_eq!(settings.logging, LogSettings { level: tracing::Level::DEBUG, format: LogFormat::Json });
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let text =
        "[server]\nlisen = \"127.0.0.1:1\"\nclient_timeout = true\n\n[uploads]\n  sync = \"ful\"\n\n[uplods]\nx = \n";
    let list = problems(text);
    let places: Vec<_> = list.iter().map(|(line, column, _)| (*line, *column)).collect();
    assert_eq!(places, [(2, 1), (3, 18), (6, 10), (8, 2), (9, 5)], "{list:?}");
    assert_eq!(list[0].2, r#""lisen" is not a key of [server]; did you mean "listen"?"#);
    assert_eq!(list[1].2, r#"client_timeout must be a time span such as "30s", not a boolean"#);
    assert_eq!(list[2].2, r#"sync cannot be "ful"; did you mean "full"?"#);
    assert_eq!(list[3].2, r#""uplods" is not a section; did you mean "uploads"?"#);
}

#[test]
fn a_wish_for_what_is_not_built_is_an_error() {
    for text in [
        "[uploads]\nsession_persistence = true",
        "[uploads]\nsession_recovery_timeout = \"10s\"",
        "[uploads]\nclient_reconnect_window = 5",
        "[uploads]\nupload_slot_ttl = \"1h 1s\"",
        "[uploads]\nretry_failed_uploads = true",
        "[uploads]\nmax_upload_retries = 4",
        "[server]\nrestart_grace_period = \"61s\"",
        "[server]\nmax_idle_conns_per_host = 6",
        "[redis]\nredisenabled = true",
    ] {
        assert!(problem(text).contains("not supported in this version"), "{text}");
    }
    // The same length in other words is the same value.
    assert!(Settings::parse("[uploads]\nupload_slot_ttl = \"1h\"").is_ok());
    assert!(problem("[uploads]\nschemes = [\"v3\"]").contains("\"v3\""));
}

#[test]
fn values_of_the_wrong_kind_or_size_are_told() {
    for (text, part) in [
        ("[server]\nlisten = 8080", "must be a string"),
        ("[server]\nlisten = \"localhost\"", "must be an address and port"),
        ("[server]\nbase_path = \"/../\"", "a base path is absolute"),
        ("[server]\nmax_connections = 0", "from 1 to"),
        ("[server]\nmax_connections = -1", "must be an integer from 0"),
        ("[server]\nclient_timeout = \"soon\"", "as a time span"),
        ("[uploads]\nstorage_path = \"files\"", "absolute"),
        ("[uploads]\nmax_upload_size = \"1X\"", "as a size"),
        ("[uploads]\nschemes = []", "at least one"),
        ("[security]\nsecret_files = \"/x\"", "array of strings"),
        ("[security]\nsecret = \"hunter2\"", "file of its own"),
        ("[logging]\nlevel = \"loud\"", "known are: error, warn, info, debug, trace"),
        ("server = 1", "must be a table"),
        ("[server]\nlisten = \":1\"\nlisten = \":2\"", "duplicate"),
    ] {
        let text_of = problem(text);
        assert!(text_of.contains(part), "{text}: {text_of}");
        assert!(!text_of.contains("hunter2"), "a secret is not repeated");
    }
}

#[test]
fn a_problem_is_shown_as_file_line_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hfs.toml");
    fs::write(&path, "# é\n[server]\nlisen = 1\n").unwrap();
    let text = Settings::load(&path).unwrap_err().to_string();
    assert!(text.starts_with(&format!("{}:3:1: \"lisen\"", path.display())), "{text}");
}

#[test]
fn a_change_that_needs_a_restart_is_named() {
    let old = Settings::defaults();
    let new =
        Settings::parse("[server]\nlisten = \":1\"\nclient_timeout = 5\n[uploads]\nstorage_path = \"/x\"").unwrap();
    assert_eq!(old.fixed_keys_changed(&new), ["listen", "storage_path"]);
    let in_force = new.with_fixed_keys_of(&old);
    assert_eq!(old.fixed_keys_changed(&in_force), Vec::<&str>::new());
    assert_eq!(in_force.server.client_timeout, Duration::from_secs(5));
}
