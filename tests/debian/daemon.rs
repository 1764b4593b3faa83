//! The daemons: what of their packages' configuration has to be smaller for a test, and what each answers to whom.

use std::{fs, path::Path};

use crate::machine::{Machine, eventually};

/// A daemon of Debian.
pub(crate) struct Daemon {
    /// Its unit file, without the ending.
    pub(crate) file: &'static str,
    /// What is started.
    pub(crate) unit: &'static str,
    /// Configuration in place of the package's, where that asks for what the machine lacks.
    configuration: &'static [(&'static str, &'static str)],
    /// Where we differ from systemd 252 on purpose.
    pub(crate) differs: &'static [Difference],
    /// Its configuration with a mistake that the daemon finds.
    pub(crate) spoiled: Option<(&'static str, &'static str)>,
    /// Processes that come and go by themselves.
    pub(crate) passing: &'static [&'static str],
    /// Sockets that systemd has as units of their own, and we in the daemon's.
    pub(crate) sockets: &'static [&'static str],
    /// Asks it something; for bash.
    request: &'static str,
    /// What has to stand in the answer.
    answer: &'static str,
}

/// Fields of a record that are not the same under both, and why.
pub(crate) struct Difference {
    /// After this step; empty: after any.
    pub(crate) step: &'static str,
    pub(crate) fields: &'static [&'static str],
    pub(crate) why: &'static str,
}

impl Difference {
    pub(crate) fn covers(&self, step: &str, field: &str) -> bool {
        (self.step.is_empty() || self.step == step) && self.fields.contains(&field)
    }
}

const DEV_CHAR: Difference = Difference {
    step: "",
    fields: &["/dev/*"],
    why: "the private /dev has no /dev/char, where systemd has links by device number",
};
const USERS: Difference = Difference {
    step: "",
    fields: &["user namespace"],
    why: "PrivateUsers= is not in this version, and the unit says so",
};
const STRICT: Difference = Difference {
    step: "",
    fields: &["/run", "/run/log", "/usr/lib", "/usr/bin/redis-server"],
    why: "read-only by ProtectSystem=strict, as systemd.exec(5) has it; systemd 252 makes what ExecPaths= names writable, and /run",
};
const NO_EXEC: Difference = Difference {
    step: "",
    fields: &["/etc/redis", "/run/redis", "/tmp", "/var/tmp", "/var/lib/redis", "/var/log/redis"],
    why: "NoExecPaths=/ holds in them too, as systemd.exec(5) has it; systemd 252 leaves out what is writable or private",
};

const LIMIT: Difference = Difference {
    step: "restarted with a mistake",
    fields: &["restarts", "result"],
    why: "we say that it was the start limit; systemd keeps how the last run ended and counts the restart that was forbidden",
};

/// Says something over TCP and prints what comes first.
macro_rules! tcp {
    ($port:literal, $say:literal, $read:literal) => {
        concat!("exec 3<>/dev/tcp/127.0.0.1/", $port, " && printf '", $say, "' >&3 && { ", $read, "; } <&3")
    };
}

/// All of them.
pub(crate) const DAEMONS: &[Daemon] = &[
    Daemon {
        file: "nginx",
        unit: "nginx",
        spoiled: Some(("etc/nginx/nginx.conf", "no such word;\n")),
        differs: &[],
        passing: &[],
        sockets: &[],
        configuration: &[],
        request: tcp!("80", "HEAD / HTTP/1.0\\r\\n\\r\\n", "cat"),
        answer: "Server: nginx",
    },
    Daemon {
        file: "redis-server",
        unit: "redis-server",
        spoiled: Some(("etc/redis/redis.conf", "no-such-word yes\n")),
        differs: &[DEV_CHAR, USERS, STRICT, NO_EXEC, LIMIT],
        passing: &[],
        sockets: &[],
        configuration: &[],
        request: tcp!("6379", "PING\\r\\n", "head -n 1"),
        answer: "+PONG",
    },
    Daemon {
        file: "haproxy",
        unit: "haproxy",
        spoiled: Some(("etc/haproxy/haproxy.cfg", "no such word\n")),
        differs: &[LIMIT],
        passing: &[],
        sockets: &[],
        // The package's own listens nowhere.
        configuration: &[(
            "etc/haproxy/haproxy.cfg",
            "global\n log /dev/log local0\n chroot /var/lib/haproxy\n stats socket /run/haproxy/admin.sock mode 660 level admin\n \
             user haproxy\n group haproxy\n daemon\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             frontend all\n bind 127.0.0.1:80\n http-request return status 200 content-type text/plain string yes\n",
        )],
        request: tcp!("80", "GET / HTTP/1.0\\r\\n\\r\\n", "cat"),
        answer: "200 OK",
    },
    Daemon {
        file: "memcached",
        unit: "memcached",
        spoiled: None,
        differs: &[DEV_CHAR],
        passing: &[],
        sockets: &[],
        configuration: &[],
        request: tcp!("11211", "version\\r\\n", "head -n 1"),
        answer: "VERSION 1",
    },
    Daemon {
        file: "mosquitto",
        unit: "mosquitto",
        spoiled: Some(("etc/mosquitto/mosquitto.conf", "no_such_word yes\n")),
        differs: &[LIMIT],
        passing: &[],
        sockets: &[],
        configuration: &[],
        // CONNECT; CONNACK without a fault.
        request: tcp!("1883", "\\x10\\x0e\\0\\x04MQTT\\x04\\x02\\0\\x3c\\0\\x02me", "head -c 4 | od -A n -t x1"),
        answer: "20 02 00 00",
    },
    Daemon {
        file: "ssh",
        unit: "ssh",
        spoiled: Some(("etc/ssh/sshd_config", "NoSuchWord yes\n")),
        differs: &[LIMIT],
        passing: &[],
        sockets: &[],
        configuration: &[],
        request: tcp!("22", "", "head -n 1"),
        answer: "SSH-2.0-OpenSSH",
    },
    Daemon {
        file: "cron",
        unit: "cron",
        spoiled: None,
        differs: &[],
        passing: &[],
        sockets: &[],
        configuration: &[],
        request: "cat /proc/$(cat /run/crond.pid)/comm",
        answer: "cron",
    },
    Daemon {
        file: "prometheus",
        unit: "prometheus",
        spoiled: None,
        differs: &[DEV_CHAR, USERS],
        passing: &[],
        sockets: &[],
        configuration: &[],
        request: tcp!("9090", "GET /-/ready HTTP/1.0\\r\\n\\r\\n", "cat"),
        answer: "200 OK",
    },
    Daemon {
        file: "postgresql@",
        unit: "postgresql@15-main",
        spoiled: None,
        differs: &[],
        passing: &[],
        sockets: &[],
        configuration: &[],
        request: "pg_isready -h 127.0.0.1",
        answer: "accepting connections",
    },
    Daemon {
        file: "apache2",
        unit: "apache2",
        spoiled: Some(("etc/apache2/ports.conf", "NoSuchWord\n")),
        differs: &[],
        passing: &[],
        sockets: &[],
        configuration: &[],
        request: tcp!("80", "HEAD / HTTP/1.0\\r\\n\\r\\n", "cat"),
        answer: "Server: Apache",
    },
    Daemon {
        file: "dovecot",
        unit: "dovecot",
        spoiled: Some(("etc/dovecot/dovecot.conf", "no_such_word = yes\n")),
        differs: &[DEV_CHAR],
        passing: &["imap-login"],
        sockets: &[],
        configuration: &[],
        request: tcp!("143", "", "head -n 1"),
        answer: "* OK",
    },
    Daemon {
        file: "rsyslog",
        unit: "rsyslog",
        spoiled: None,
        differs: &[],
        passing: &[],
        sockets: &["syslog.socket"],
        configuration: &[],
        // What was there before is not taken for an answer.
        request: "rm -f /var/log/syslog.seen; w=$RANDOM$RANDOM; logger --socket /run/systemd/journal/syslog --udp said $w; \
            for i in $(seq 40); do grep -o \"said $w\" /var/log/syslog && exit; sleep 0.05; done",
        answer: "said",
    },
];

/// The one with this unit file.
#[track_caller]
pub(crate) fn of(file: &str) -> &'static Daemon {
    DAEMONS.iter().find(|daemon| daemon.file == file).expect("a daemon of the list")
}

/// A unit file as it ships.
pub(crate) fn unit_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("units/debian/{name}.toml"));
    fs::read_to_string(path).expect("a unit file")
}

impl Daemon {
    /// What the machine is booted with.
    pub(crate) fn files(&self) -> Vec<(String, String)> {
        let log = (
            "etc/systemd/system/roundsman.service.d/log.conf".to_owned(),
            "[Service]\nStandardError=append:/run/supervisord.log\n".to_owned(),
        );
        let names_it = format!(
            "[Unit]\nWants={}.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
            self.unit
        );
        let off = "[install]\nenabled = false\n".to_owned();
        let mut files = vec![
            log,
            ("etc/systemd/system/names-it.service".to_owned(), names_it),
            (format!("etc/roundsman/units/{}.toml.d/off.toml", self.file), off),
        ];
        files.push((format!("etc/roundsman/units/{}.toml", self.file), unit_file(self.file)));
        files.extend(self.configuration.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
        files
    }

    /// What a boot of Debian would have done by now: the log, directories, other names of the unit.
    pub(crate) fn prepare(&self, machine: &Machine) {
        let file = machine.path(&format!("usr/lib/systemd/system/{}.service", self.file));
        assert!(file.exists(), "{file:?} is missing: scripts/test installs Debian's packages");
        machine.systemctl(&["start", "systemd-journald"]);
        // Where others write on the machine that lies below, and would be seen.
        for folder in ["/home", "/root", "/var/tmp"] {
            machine.run(&["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", folder]);
        }
        for folder in ["home/someone", "root/something"] {
            machine.write(&format!("{folder}/file"), "");
        }
        machine.run(&["systemd-tmpfiles", "--create", "--prefix=/run", "--prefix=/var"]);
        machine.systemctl(&["enable", self.unit]);
        // systemd forgets all about a unit that is down, unless one that is up names it.
        machine.systemctl(&["start", "--job-mode=ignore-dependencies", "names-it"]);
    }

    /// Waits until it answers.
    #[track_caller]
    pub(crate) fn has_answered(&self, machine: &Machine) {
        let mut said = String::new();
        eventually(&format!("{} answers", self.unit), || {
            said = machine.run(&["sh", "-c", "timeout 5 bash -c \"$0\" 2>&1 || true", self.request]);
            said.contains(self.answer)
        });
    }
}
