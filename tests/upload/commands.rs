use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use crate::world::World;

#[expect(clippy::disallowed_methods, reason = "the test starts our own program")]
fn run(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hmac-file-server"));
    command.arg("--config").arg(world.settings()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_signed_url_uploads_and_verifies() {
    let world = World::new("base_path = \"/upload/\"", "");
    let _server = world.start();
    let output = run(&world, &["sign", "--path", "slot/a b.jpg", "--length", "3", "--type", "image/jpeg"]);
    assert!(output.status.success());
    let url = text(&output.stdout);
    let url = url.trim();
    assert!(url.starts_with("/upload/slot/a%20b.jpg?v2="), "{url}");
    assert_eq!(world.connect().put(url, "content-type: image/jpeg\r\n", b"abc").status, 201);

    let output = run(&world, &["verify", "--url", url, "--length", "3", "--type", "image/jpeg"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "valid: scheme v2, secret 1\n"));
    let output = run(&world, &["verify", "--url", url, "--length", "4", "--type", "image/jpeg"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("length 3 (stated: 4)"), "{output:?}");
    assert_eq!(run(&world, &["verify", "--url", "/upload/a", "--length", "4"]).status.code(), Some(2));
}

#[test]
fn all_problems_of_the_settings_are_told_before_the_start() {
    let world = World::new("lisen = 1", "session_persistence = true");
    for arguments in [&["--check"][..], &[]] {
        let output = run(&world, arguments);
        let (code, errors) = (output.status.code(), text(&output.stderr));
        assert_eq!(code, Some(2), "{errors}");
        let file = world.settings().display().to_string();
        assert!(errors.contains(&format!("{file}:4:1: \"lisen\"")), "{errors}");
        assert!(errors.contains("did you mean \"listen\"?"), "{errors}");
        assert!(errors.contains("session_persistence is not supported in this version"), "{errors}");
    }
    assert!(!world.store().exists(), "nothing was made before the settings were right");
}

#[test]
fn a_secret_that_others_can_read_stops_the_start() {
    let world = World::new("", "");
    assert!(run(&world, &["--check"]).status.success());
    let secret = world.folder.path().join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    for arguments in [&["--check"][..], &[]] {
        let output = run(&world, arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2));
        assert!(errors.contains(secret.to_str().unwrap()) && errors.contains("0644"), "{errors}");
        assert!(!errors.contains("mysecret"), "{errors}");
    }
}
