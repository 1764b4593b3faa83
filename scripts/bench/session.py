"""One supervisor with its services, from its configuration to the last process gone; and what its processes use."""
import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from board import Board, now

STOP_WITHIN = 40


def read(path):
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""


def below(pid, unseen=frozenset()):
    """Every process that descends from `pid`, but not through one that is to be left unseen."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        if pid in unseen:
            continue
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                todo += map(int, read(f"/proc/{pid}/task/{task}/children").split())
        found.append(pid)
    return found[1:]


def program(pid):
    with contextlib.suppress(OSError):
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    return ""


def pss_kib(pid):
    return next((int(line.split()[1]) for line in read(f"/proc/{pid}/smaps_rollup").splitlines() if line.startswith("Pss:")), 0)


def switches(pid):
    """Context switches of all threads: each is a wake-up that came before."""
    count = 0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            lines = read(f"/proc/{pid}/task/{task}/status").splitlines()
            count += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return count


class Session:
    """Leaves nothing behind: directories, shared memory and processes go at its end."""

    def __init__(self, peer, count, tools, memory, disk):
        self.peer, self.count, self.tools = peer, count, tools
        self.dir = memory / f"{peer.name}-{now()}"
        self.disk = disk / self.dir.name
        for folder in (self.dir, self.disk):
            folder.mkdir()
        self.dir.chmod(0o755)
        self.board = Board(self.dir / "board", count)
        self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        services = [[str(self.tools / "probe"), f"{self.board.path}:{index}"] for index in range(self.count)]
        command = [str(word) for word in self.peer.prepare(self, services)]
        with open(self.dir / "output", "wb") as output:
            self.began = now()
            self.process = subprocess.Popen(
                [self.tools / "below", *command], cwd=self.dir, env={**os.environ, **self.peer.environment(self)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        self.board.wait(lambda: self.process.poll() is not None or self.board.up() == self.count, self.peer.boots_within, 0.01)
        if self.board.up() < self.count:
            raise RuntimeError(f"{self.peer.name}: {self.board.up()} of {self.count} services came up: {read(self.dir / 'output')[-500:]}")
        self.began = self.peer.began(self) or self.began

    def boot_ms(self):
        return (max(born for born, *_ in self.board.all()) - self.began) / 1e6

    def main(self):
        """The first process below our own. No walk: this stands within what is measured."""
        return next(map(int, read(f"/proc/{self.process.pid}/task/{self.process.pid}/children").split()), 0)

    def own(self):
        """The supervisor's processes. No look at a service: what the kernel then keeps of it makes its end slower."""
        services = frozenset(pid for _, _, pid, _ in self.board.all())
        return [pid for pid in below(self.process.pid, services) if program(pid) != "probe" and self.peer.owns(pid)]

    def restart_us(self, index):
        """Kills one service; from there to the first instruction of its successor. None when none came."""
        pid = self.board.read(index)[2]
        killed = now()
        os.kill(pid, signal.SIGKILL)
        if not self.board.wait(lambda: self.board.read(index)[0] > killed, 15):
            return None
        return (self.board.read(index)[0] - killed) / 1e3

    def mass_ms(self):
        """Kills all services at once; from there to the first instruction of the last successor."""
        pids = [pid for _, _, pid, _ in self.board.all()]
        killed = now()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        def back(): return sum(born > killed for born, *_ in self.board.all())
        if not self.board.wait(lambda: back() == self.count, 60, 0.01):
            raise RuntimeError(f"{self.peer.name}: {back()} of {self.count} killed services came back")
        return (max(born for born, *_ in self.board.all()) - killed) / 1e6

    def stop_ms(self):
        """Ends the supervisor; from the order to the end of its last service."""
        ordered = now()
        self.end()
        ends = [ended for _, ended, *_ in self.board.all() if ended >= ordered]
        if len(ends) < self.count:
            raise RuntimeError(f"{self.peer.name}: {len(ends)} of {self.count} services were stopped")
        return (max(ends) - ordered) / 1e6

    def end(self):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.peer.stop(self)
            self.process.wait(STOP_WITHIN)

    def descriptors(self):
        """Of all the supervisor's processes."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.own())

    def close(self):
        if self.process and self.process.poll() is None:
            self.end()
            self.kill_all()
        with contextlib.suppress(OSError):
            self.peer.clean(self)
        self.board.close()
        for folder in (self.dir, self.disk):
            shutil.rmtree(folder, ignore_errors=True)

    def kill_all(self):
        """Only what descends from our own process, until that has nothing left and goes."""
        while self.process.poll() is None:
            for pid in below(self.process.pid):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
