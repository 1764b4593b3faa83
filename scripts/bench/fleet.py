#!/usr/bin/env python3
"""Measures a fleet on one machine: AGENTS daemons and a Redis.

  scripts/bench/fleet.py [AGENTS]      50 unless said otherwise; takes target/release as it is

command to act   from the moment a command is in Redis until its node begins to carry it out
idle load        Redis' operations in a second while nothing is done, and what that is for 1,000 nodes
plan             all instances restarted at once, from the order to the end
Exit code 1 when a figure misses what is asked of it.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("ROUNDSMAN_BIN", ROOT / "target/release"))
ACT_MS, IDLE_OPS, NODES = 20, 350, 1000
IDLE_S = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def redis(port, *words):
    with socket.create_connection(("127.0.0.1", port), 5) as link:
        link.sendall(b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)]))
        link.settimeout(5)
        return answer(link.makefile("rb"))


def answer(stream):
    line = stream.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:].decode()
    if kind == b"*":
        return [answer(stream) for _ in range(max(0, int(rest)))]
    if kind == b"$":
        return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode()
    return rest


class Fleet:
    """Ends all that it began."""

    def __init__(self, agents, folder):
        self.agents, self.folder, self.port, self.processes = agents, folder, free_port(), []

    def __enter__(self):
        self.run(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)], "redis")
        until(lambda: reached(self.port))
        nodes = "".join(f'[[node]]\nname = "vm{nth}"\n' for nth in range(self.agents))
        names = ", ".join(f'"vm{nth}"' for nth in range(self.agents))
        topology = f'name = "bench"\n{nodes}[[service]]\nname = "app"\nmax_unavailable = "100%"\nnodes = [{names}]\n'
        for nth in range(self.agents):
            place = self.folder / f"vm{nth}"
            (place / "units").mkdir(parents=True)
            (place / "fleet.toml").write_text(topology)
            (place / "units/app.toml").write_text('[service]\nexec_start = "/bin/sleep 100000"\n')
            (place / "roundsman.toml").write_text(
                '[paths]\nunits = ["units"]\nstate = "state"\nruntime = "run"\nlogs = "logs"\n'
                f'[fleet]\nnode = "vm{nth}"\n[high_availability]\nredis_url = "redis://127.0.0.1:{self.port}"\n')
            self.run([str(BIN / "supervisord"), "--config", str(place / "roundsman.toml")], f"vm{nth}/log")
        until(lambda: all(node["trouble"] is None for node in self.ask("fleet", "status")["nodes"]))
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)

    def run(self, words, log):
        with open(self.folder / log, "wb") as output:
            self.processes.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output))

    def ask(self, *words):
        control = self.folder / "vm0/run/control.sock"
        done = subprocess.run([BIN / "supervisorctl", "--socket", control, *words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(done.stdout)
        return {"nodes": [{"trouble": done.stderr.decode()}]}

    def commands(self):
        """Node -> when each step that acts came to be in Redis, in ms."""
        found = {}
        for nth in range(self.agents):
            entries = redis(self.port, "XRANGE", f"roundsman:{{bench}}:to:vm{nth}", "-", "+")
            acts = [int(entry.split("-")[0]) for entry, fields in entries if '"deed":"restart"' in fields[1]]
            found[nth] = acts[-1] if acts else None
        return found

    def begun(self, nth):
        """When the node began its last act, in ms."""
        log = re.sub(r"\x1b\[[0-9;]*m", "", (self.folder / f"vm{nth}/log").read_text())
        times = re.findall(r"^(\S+)Z\s+INFO the fleet restarts", log, re.MULTILINE)
        return datetime.fromisoformat(times[-1] + "+00:00").timestamp() * 1000 if times else None

    def operations(self):
        said = redis(self.port, "INFO", "stats")
        return int(re.search(r"total_commands_processed:(\d+)", said)[1])


def reached(port):
    try:
        return redis(port, "PING") == "PONG"
    except OSError:
        return False


def until(is_so, within=120):
    end = time.monotonic() + within
    while not is_so():
        if time.monotonic() > end:
            sys.exit("it did not come about within two minutes")
        time.sleep(0.2)


def main():
    agents = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    folder = Path(tempfile.mkdtemp(prefix="rm-fleet-", dir="/tmp"))
    missed = False
    try:
        with Fleet(agents, folder) as fleet:
            time.sleep(6)
            took, delays = [], []
            for _ in range(5):
                began = time.monotonic()
                fleet.ask("fleet", "restart", "app", "--no-wait")
                until(lambda: fleet.ask("plan", "show").get("state") == "succeeded")
                took.append((time.monotonic() - began) * 1000)
                delays += [fleet.begun(nth) - at for nth, at in fleet.commands().items() if at is not None and nth]
                time.sleep(1)
            delays.sort()
            p99 = delays[int(len(delays) * 0.99) - 1]
            print(f"command to act, {agents} agents: median {delays[len(delays) // 2]:.1f} ms, p99 {p99:.1f} ms (asked: {ACT_MS})")
            print(f"plan over {agents} instances at once: {min(took):.0f} to {max(took):.0f} ms (looked at every 200 ms)")
            before = fleet.operations()
            time.sleep(IDLE_S)
            rate = (fleet.operations() - before - 1) / IDLE_S
            print(f"idle: {rate:.1f} operations a second, {rate / agents * NODES:.0f} for {NODES} nodes (asked: {IDLE_OPS})")
            missed = p99 > ACT_MS or rate / agents * NODES > IDLE_OPS
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if missed else 0)


main()
