//! Services below a root of their own, and what of the host is shown to them there.
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::support::{
    process::{Signal, kill, lives, need_root, until},
    world::World,
};

/// A root with the host's programs in it as soon as /usr is bound, and names that nobody else has on the host.
struct Jail {
    folder: tempfile::TempDir,
    own: String,
}

impl Jail {
    fn new(what: &str) -> Self {
        need_root("it mounts below a root");
        let folder = tempfile::Builder::new().prefix("roundsman-test-").tempdir_in("/run").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["bin", "lib", "lib64", "sbin"] {
            symlink(format!("usr/{name}"), folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("inside"), "").unwrap();
        Self { folder, own: format!("rm-test-{}-{what}", std::process::id()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the host has what is the unit's.
    fn of_host(&self, folder: &str) -> PathBuf {
        Path::new(folder).join(&self.own)
    }

    /// A unit with `settings`, in which `OWN` is the unit's own name, and a script.
    fn unit(&self, settings: &str, script: &str) -> String {
        let (settings, root) = (settings.replace("OWN", &self.own), self.folder.path().display());
        fs::write(self.path("script"), script).unwrap();
        format!(
            "[service]\nexec_start = '/bin/sh /script'\nroot_directory = '{root}'\nbind_read_only_paths = '/usr'\n{settings}\n"
        )
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        for folder in ["/var/lib", "/run"] {
            fs::remove_dir_all(self.of_host(folder)).ok();
        }
    }
}

/// All that is mounted on the host which tells of this test.
fn mounts(jail: &Jail) -> Vec<String> {
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = |line: &&str| line.contains(&jail.own) || line.contains(&jail.folder.path().display().to_string());
    all.lines().filter(ours).map(str::to_owned).collect()
}

/// Is ready, and says so each time that it is asked.
const SERVE: &str = "use IO::Socket::UNIX; $| = 1; my $asked = 0;\n\
    sub notify { IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET})->send($_[0]) or die }\n\
    $SIG{USR1} = sub { $asked++; notify(\"STATUS=asked-$asked\") };\n\
    notify('READY=1'); print \"up\\n\"; sleep 1000 while 1;\n";

pub(crate) fn what_is_the_services_is_shown_below_its_root_whoever_is_killed() {
    let jail = Jail::new("whole");
    let settings = "type = 'notify'\nrestart = 'always'\nstate_directory = 'OWN'\n\
                    runtime_directory = 'OWN'\nset_credential = 'key:value'\nprivate_tmp = true\nprotect_system = 'strict'\n\
                    private_devices = true\nprotect_home = true\nread_write_paths = '+/data'";
    fs::create_dir(jail.path("data")).unwrap();
    fs::write(jail.path("serve.pl"), SERVE).unwrap();
    let script = format!(
        "echo run >> $STATE_DIRECTORY/runs; echo run $(wc -l < $STATE_DIRECTORY/runs)\n\
         touch $RUNTIME_DIRECTORY/here /tmp/here /data/here && echo written\n\
         touch /here 2>&- || echo root read-only\n\
         touch /usr/here 2>&- || echo usr read-only\n\
         touch $CREDENTIALS_DIRECTORY/here 2>&- || echo credential $(cat $CREDENTIALS_DIRECTORY/key)\n\
         ls -d /inside /dev/null /proc/self /sys/kernel {host} 2>&-\n\
         exec perl /serve.pl\n",
        host = jail.folder.path().display(),
    );
    let mut world = World::new();
    world.unit(&jail.own, &jail.unit(settings, &script));
    world.start();
    world.until_active(&jail.own, "active");
    let pid = world.pid(&jail.own);
    let said = "run 1\nwritten\nroot read-only\nusr read-only\ncredential value\n/dev/null\n/inside\n/proc/self\n\
                /sys/kernel\nup\n";
    until("it has looked", || world.captured(&jail.own).ends_with("up\n").then_some(()));
    assert_eq!(world.captured(&jail.own), said, "{}", world.log());
    assert!(jail.of_host("/run").join("here").exists() && jail.path("data/here").exists());
    // Nothing of it is mounted for others, but for the credentials, which the host has too.
    let on_host = mounts(&jail);
    assert!(on_host.iter().all(|line| line.contains("/credentials/")), "{on_host:#?}");

    let mut asked = 0;
    let mut hears = |world: &World, when: &str| {
        asked += 1;
        kill(pid, Signal::SIGUSR1);
        world.until_status(&jail.own, when, |status| status["status_text"] == format!("asked-{asked}"));
        assert_eq!(world.pid(&jail.own), pid, "{when}");
    };
    hears(&world, "it is heard");
    let manager = world.kill_manager();
    until("another manager answers", || (world.managers_up() == 2 && world.manager() != manager).then_some(()));
    hears(&world, "it is heard by the next manager");
    world.kill_keeper();
    world.start();
    hears(&world, "the next keeper's socket is where the service looks for it");

    kill(pid, Signal::SIGKILL);
    until("it runs again", || world.captured(&jail.own).ends_with(&said.replace("run 1", "run 2")).then_some(()));
    world.ok(&["stop", &jail.own]);
    until("its credentials are gone", || mounts(&jail).is_empty().then_some(()));
    until("what was for one run is gone", || (!jail.of_host("/run").exists()).then_some(()));
    assert!(!lives(pid) && jail.of_host("/var/lib").join("runs").exists(), "what is kept is kept");
    assert!(world.stop().success());
}

/// `/inside` is there for who is below the root. As measured under systemd 252.
pub(crate) fn commands_have_the_root_that_their_prefix_and_the_unit_give_them() {
    let jail = Jail::new("commands");
    let look = |prefix: &str, name: &str| {
        format!("'''{prefix}/bin/sh -c \"echo {name}: $(ls -d /inside /proc/self /var/lib/{0} $CREDENTIALS_DIRECTORY 2>&-) $(id -u)\"'''", jail.own)
            .replace("$(", "$$(").replace("$C", "$$C")
    };
    let unit = |more: &str| {
        let (plain, plus, bang) = (look("", "plain"), look("+", "plus"), look("!", "bang"));
        let settings = format!(
            "type = 'oneshot'\nuser = 'daemon'\nset_credential = 'key:value'\nstate_directory = 'OWN'\n{more}\n\
             exec_start_pre = [{plain}, {plus}, {bang}]"
        );
        jail.unit(&settings, "echo main: $(ls -d /inside)\n")
    };
    let mut world = World::new();
    let (all, start_only) = (jail.own.clone(), format!("{}-start-only", jail.own));
    world.unit(&all, &unit(""));
    world.unit(&start_only, &unit("root_directory_start_only = true"));
    world.start();
    let (own, credentials) =
        (jail.of_host("/var/lib").display().to_string(), format!("/run/credentials/{all}.service"));
    let said = |unit: &str| until("it is done", || Some(world.captured(unit)).filter(|said| said.contains("main:")));
    assert_eq!(
        said(&all),
        format!(
            "plain: /inside /proc/self {credentials} {own} 1\n\
             plus: /inside {credentials} {own} 0\n\
             bang: /inside /proc/self {credentials} {own} 0\n\
             main: /inside\n"
        )
    );
    let credentials = format!("/run/credentials/{start_only}.service");
    assert_eq!(
        said(&start_only),
        format!(
            "plain: /proc/self {credentials} {own} 1\n\
             plus: /proc/self {credentials} {own} 0\n\
             bang: /proc/self {credentials} {own} 0\n\
             main: /inside\n"
        )
    );
    assert!(world.stop().success());
}

/// Links below the root that name what is outside of it.
pub(crate) fn a_link_below_the_root_leads_nowhere_else() {
    let jail = Jail::new("links");
    let outside = tempfile::Builder::new().prefix("roundsman-test-").tempdir_in("/run").unwrap();
    let inside = jail.path(outside.path().strip_prefix("/").unwrap().to_str().unwrap());
    for name in ["one", "two"] {
        fs::create_dir(outside.path().join(name)).unwrap();
        fs::create_dir_all(inside.join(name)).unwrap();
    }
    symlink(outside.path().join("one"), jail.path("absolute")).unwrap();
    symlink(format!("../../../..{}/two", outside.path().display()), jail.path("relative")).unwrap();
    // As a root has it in which the host's resolver is to be shown.
    symlink("../made/there/file", jail.path("nowhere")).unwrap();
    let settings = "type = 'oneshot'\nmount_api_vfs = false\nread_only_paths = '-+/relative'\n\
                    bind_paths = ['/etc:/absolute', '/etc:/relative/deep', '/etc/passwd:/nowhere']\n\
                    temporary_file_system = '/relative/empty'";
    let script = "ls /absolute/passwd /relative/deep/passwd; grep -c ^root: /nowhere /made/there/file; echo end\n";
    let world = World::with(&[(&jail.own, &jail.unit(settings, script))]);
    until("it has looked", || world.captured(&jail.own).ends_with("end\n").then_some(()));
    assert_eq!(
        world.captured(&jail.own),
        "/absolute/passwd\n/relative/deep/passwd\n/nowhere:1\n/made/there/file:1\nend\n",
        "{}",
        world.log()
    );
    let two = |root: &Path| fs::read_dir(root.join("two")).unwrap().count();
    assert_eq!((two(outside.path()), two(&inside)), (0, 2), "what is made to mount on is made below the root");
}

/// What is a plain chroot(2) needs no right to mount, and no look at a disk before the start.
pub(crate) fn a_root_without_anything_to_mount_is_only_entered() {
    let jail = Jail::new("plain");
    let usr = jail.path("usr");
    fs::create_dir(&usr).unwrap();
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some("/usr"), &usr, None::<&str>, flags, None::<&str>).unwrap();
    let unit = jail.unit("type = 'oneshot'\nmount_api_vfs = false", "ls /; exec sleep 1000\n");
    let world =
        World::with(&[(&jail.own, &unit.replace("bind_read_only_paths = '/usr'\n", "").replace("oneshot", "simple"))]);
    until("it has looked", || world.captured(&jail.own).ends_with("usr\n").then_some(()));
    let said = world.captured(&jail.own);
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    let is_ours = namespace(world.pid(&jail.own)) == namespace(std::process::id().cast_signed());
    world.ok(&["stop", &jail.own]);
    nix::mount::umount2(&usr, nix::mount::MntFlags::MNT_DETACH).unwrap();
    assert_eq!(said, "bin\ninside\nlib\nlib64\nsbin\nscript\nusr\n");
    assert!(is_ours, "it has the mounts that we have");
}
