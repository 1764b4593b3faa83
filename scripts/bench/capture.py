"""How fast output is captured, and at what price: a writer of lines and one of blocks, into each supervisor or logger."""
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from board import now
from session import below, program

LINE, BLOCK = 100, 65_500
SEGMENT, KEEP = 16 << 20, 120
GIB = 1 << 30


class Logger:
    """A program that reads a pipe and writes files, as its supervisor would start it."""
    def __init__(self, name, command): self.name, self.words = name, command
    def missing(self): return None if shutil.which(self.words.split()[0]) else f"no {self.words.split()[0]} here"

    def prepare(self, folder, disk, writer):
        command = self.words.format(disk=disk, size=SEGMENT, keep=KEEP)
        (disk / "config").write_text(f"s{SEGMENT}\nn{KEEP}\n")
        return ["sh", "-c", f"exec {writer} | exec {command}"], {}

    def files(self, disk): return [path for path in disk.iterdir() if path.name == "current" or path.name[0] == "@"]


class Cat(Logger):
    """The limit: nothing but a pipe into a file."""
    def files(self, disk): return [disk / "out"]


class Supervisor(Logger):
    def __init__(self): super().__init__("supervisor", "/usr/bin/supervisord")

    def prepare(self, folder, disk, writer):
        config = folder / "supervisor.conf"
        config.write_text(
            f"[supervisord]\nnodaemon=true\nlogfile={folder}/log\npidfile={folder}/pid\n[program:writer]\ncommand={writer}\n"
            f"redirect_stderr=true\nstdout_logfile={disk}/out\nstdout_logfile_maxbytes={SEGMENT}\nstdout_logfile_backups={KEEP}\n")
        return [self.words, "-n", "-c", config], {}

    def files(self, disk): return list(disk.glob("out*"))


class Roundsman(Logger):
    def __init__(self, bin_dir):
        super().__init__("roundsman", str(bin_dir / "supervisord"))

    def prepare(self, folder, disk, writer):
        (folder / "units").mkdir()
        (folder / "units/writer.toml").write_text(f'[service]\nexec_start = "{writer}"\n')
        config = folder / "roundsman.toml"
        config.write_text(f'[paths]\nunits = ["units"]\nstate = "{folder}/state"\nruntime = "run"\nlogs = "{disk}"\n'
                          f"[log]\nsegment_size = {SEGMENT}\nkeep = {KEEP}\n")
        return [self.words, "--config", config], {"ROUNDSMAN_LOG": "error"}

    def files(self, disk): return list((disk / "writer").glob("*.log"))


def loggers(bin_dir):
    return [Cat("limit", "cat > {disk}/out"), Roundsman(bin_dir), Supervisor(), Logger("s6", "s6-log n{keep} s{size} {disk}"),
            Logger("runit", "svlogd {disk}"), Logger("daemontools", "multilog s16777215 n{keep} {disk}")]


def cpu_ns(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total


def captures(loggers, place, rounds, quick):
    """Logger -> (kind -> (MB/s, CPU seconds per GiB)), medians; all take turns."""
    found = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        for kind, length, size, millis in (("lines", LINE, 1 << 40, 800 if quick else 2000), ("blocks", BLOCK, GIB, 10_000)):
            for logger in loggers:
                found[logger.name][kind].append(capture(logger, place, (size, millis, length)))
    return {name: {kind: tuple(median(values) for values in zip(*all_of, strict=True)) for kind, all_of in kinds.items()}
            for name, kinds in found.items()}


def capture(logger, place, how):
    tools, memory, disk = place
    folder, disk = memory / f"{logger.name}-{now()}", disk / f"{logger.name}-{now()}"
    for path in (folder, disk):
        path.mkdir()
        path.chmod(0o777)
    go = folder / "go"
    go.touch()
    command, environment = logger.prepare(folder, disk, " ".join(map(str, [tools / "writer", go, *how])))
    process = subprocess.Popen([tools / "below", *map(str, command)], cwd=folder, env={**os.environ, **environment},
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        await_that(lambda: any(program(pid) == "writer" for pid in below(process.pid)))
        time.sleep(0.7)
        own = [pid for pid in below(process.pid) if program(pid) != "writer"]
        before = cpu_ns(own)
        go.unlink()
        done = folder / "go.done"
        await_that(done.exists)
        written, nanos = map(int, done.read_text().split())
        await_that(lambda: captured(logger, disk) >= written)
        return written / 1e6 / (nanos / 1e9), (cpu_ns(own) - before) / 1e9 / (written / GIB)
    finally:
        for pid in below(process.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        while process.poll() is None:
            for pid in below(process.pid):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for path in (folder, disk):
            shutil.rmtree(path, ignore_errors=True)


def captured(logger, disk):
    total = 0
    for path in logger.files(disk):
        # It may be renamed at this moment.
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def await_that(is_so):
    end = now() + 30_000_000_000
    while not is_so():
        if now() > end:
            raise RuntimeError("the output did not arrive")
        time.sleep(0.002)
