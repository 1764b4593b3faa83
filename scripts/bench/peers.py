"""The supervisors that are measured: how each is configured for N services, started and stopped."""
import os
import shutil
import signal
import subprocess
from pathlib import Path

BUILT = Path(os.environ.get("SBENCH_PEERS", "/var/tmp/sbench")) / "bin"


class Peer:
    name = "?"
    program = ""
    services_max = 100_000
    boots_within = 60

    def missing(self):
        """Why it cannot be measured here, or None."""
        return None if shutil.which(self.program) else f"no {self.program} here"

    def prepare(self, session, services):
        """Writes the configuration for services (each an argv) below session.dir; the command that starts it."""
        raise NotImplementedError

    def environment(self, session): return {}
    def began(self, session): return None  # when the boot began, if not at the command's start
    def owns(self, pid): return True
    def stop(self, session): os.kill(session.main(), signal.SIGTERM)
    def clean(self, session): pass


class Limit(Peer):
    name = "limit"
    def missing(self): return None
    def prepare(self, session, services):
        return [session.tools / "limit", session.board.path, len(services), session.tools / "probe"]


class Roundsman(Peer):
    name = "roundsman"
    def __init__(self, bin_dir, output="null"): self.bin, self.output = bin_dir, output
    def missing(self): return None
    def environment(self, session): return {"ROUNDSMAN_LOG": "error"}

    def prepare(self, session, services):
        units = session.dir / "units"
        units.mkdir()
        for index, argv in enumerate(services):
            (units / f"p{index}.toml").write_text(
                "[unit]\nstart_limit_burst = 0\n[service]\nrestart = \"always\"\nrestart_sec = 0\n"
                f"standard_output = \"{self.output}\"\nexec_start = \"{' '.join(argv)}\"\n")
        paths = {"state": session.disk / "state", "runtime": session.dir / "run", "logs": session.disk / "logs"}
        lines = [f'units = ["{units}"]', *(f'{key} = "{path}"' for key, path in paths.items())]
        config = session.dir / "roundsman.toml"
        config.write_text("[paths]\n" + "\n".join(lines) + "\n")
        return [self.bin / "supervisord", "--config", config]

    def status(self, session):
        return [self.bin / "supervisorctl", "--socket", session.dir / "run/control.sock", "status"]


class Dinit(Peer):
    name = "dinit"
    def missing(self): return None if self.path() else f"no dinit in PATH or {BUILT}"
    def path(self): return shutil.which("dinit", path=f"{BUILT}:{os.environ['PATH']}")

    def prepare(self, session, services):
        folder = session.dir / "services"
        folder.mkdir()
        for index, argv in enumerate(services):
            (folder / f"p{index}").write_text(
                f"type = process\ncommand = {' '.join(argv)}\nrestart = true\nsmooth-recovery = true\nrestart-delay = 0\n"
                "restart-limit-interval = 0\n")
        waits = "".join(f"waits-for = p{index}\n" for index in range(len(services)))
        (folder / "boot").write_text(f"type = internal\n{waits}")
        return [self.path(), "-q", "-p", session.dir / "socket", "-d", folder, "boot"]


class ScanDir(Peer):
    """One directory and one supervising process for each service."""

    def prepare(self, session, services):
        scan = session.dir / "scan"
        scan.mkdir()
        for index, argv in enumerate(services):
            folder = scan / f"p{index}"
            folder.mkdir()
            (folder / "run").write_text(f"#!/bin/sh\nexec {' '.join(argv)}\n")
            (folder / "run").chmod(0o755)
        os.utime(scan, (1, 1))  # runsvdir waits until its directory is older than a second
        return [self.program, *self.options, scan]


class Runit(ScanDir):
    name, program, options, services_max = "runit", "runsvdir", ["-P"], 1000
    def stop(self, session): os.kill(session.main(), signal.SIGHUP)


class S6(ScanDir):
    name, program, options = "s6", "s6-svscan", ["-c", "6000"]
    def stop(self, session): subprocess.run(["s6-svscanctl", "-t", session.dir / "scan"], check=False)


class Supervisor(Peer):
    name, program = "supervisor", "/usr/bin/supervisord"

    def prepare(self, session, services):
        programs = "".join(
            f"[program:p{index}]\ncommand={' '.join(argv)}\nautorestart=true\nstartsecs=0\nstartretries=1000000\n"
            "redirect_stderr=true\nstdout_logfile=NONE\n" for index, argv in enumerate(services))
        config = session.dir / "supervisor.conf"
        config.write_text(
            f"[supervisord]\nnodaemon=true\nlogfile={session.dir}/log\npidfile={session.dir}/pid\nminprocs=200\n"
            f"minfds={3 * len(services) + 1024}\n{programs}")
        return [self.program, "-n", "-c", config]


class Systemd(Peer):
    """A user manager of systemd in a mount namespace with a /run of its own and in cgroups of its own. Its boot is the
    start of all services by one that is up already."""
    name, program = "systemd", "/lib/systemd/systemd"

    def missing(self):
        if os.geteuid() != 0:
            return "needs root"
        return super().missing() or (None if shutil.which("unshare") else "no unshare here")

    def prepare(self, session, services):
        units, run = session.dir / "units", session.dir / "run"
        for folder in (units, run):
            folder.mkdir(mode=0o700)
        for index, argv in enumerate(services):
            (units / f"p{index}.service").write_text(
                f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={' '.join(argv)}\nRestart=always\nRestartSec=0\n"
                "StandardOutput=null\n")
        wants = "".join(f"Wants=p{index}.service\n" for index in range(len(services)))
        (units / "bench.target").write_text(f"[Unit]\n{wants}")
        (units / "nothing.target").write_text("[Unit]\n")
        enter = "".join(f"mkdir {folder}; echo $$ > {folder}/cgroup.procs\n" for folder in self.cgroups(session))
        script = session.dir / "go"
        script.write_text(
            f"{enter}export XDG_RUNTIME_DIR={run} SYSTEMD_UNIT_PATH={units}: HOME={session.dir}\n"
            f"(until [ -S {run}/systemd/private ]; do sleep 0.05; done; sleep 0.5\n"
            f"python3 -c 'import time; print(time.monotonic_ns())' > {session.dir}/began\n"
            "exec systemctl --user start --no-block bench.target) &\n"
            "exec unshare --mount sh -c 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && "
            f"exec {self.program} --user --unit=nothing.target'\n")
        return ["sh", script]

    def cgroups(self, session):
        top = Path("/sys/fs/cgroup")
        tops = [top / name for name in ("systemd", "unified") if (top / name / "cgroup.procs").exists()]
        return [folder / session.dir.name for folder in tops or [top]]

    def began(self, session): return int((session.dir / "began").read_text())
    def owns(self, pid): return os.path.realpath(f"/proc/{pid}/exe") == os.path.realpath(self.program)

    def stop(self, session):
        manager = next(pid for pid in session.own() if self.owns(pid))
        os.kill(manager, signal.SIGTERM)

    def clean(self, session):
        for folder in self.cgroups(session):
            for path, _, _ in os.walk(folder, topdown=False):
                os.rmdir(path)


def all_peers(bin_dir):
    return [Limit(), Roundsman(bin_dir), Dinit(), Systemd(), S6(), Runit(), Supervisor()]
