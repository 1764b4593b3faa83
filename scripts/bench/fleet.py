#!/usr/bin/env python3
"""Measures a fleet on one machine: AGENTS daemons and a Redis; and a plan over 10,000 instances.

  scripts/bench/fleet.py [AGENTS]      50 unless said otherwise; takes target/release as it is

command to act   from the moment a command is in Redis until its node begins to carry it out
idle load        Redis' operations in a second of a fleet of 1,000 nodes in which nothing is done: AGENTS daemons of one are
                 here, and then half of them; what the others make of it is what the rest of 1,000 would
plan             all instances restarted at once, from the order to the end
large plan       `fleet restart --dry-run` of the first of ten services that depend on each other on 1,000 nodes: how long
                 people wait for it, and the most memory that the manager had
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
TURNS = 20
SERVICES, PLAN_MS, PLAN_MIB = 10, 1000, 100


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

    def __init__(self, agents, folder, inventory=None):
        self.agents, self.folder, self.port, self.processes = agents, folder, free_port(), []
        self.inventory = inventory or agents

    def __enter__(self):
        self.run(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)], "redis")
        until(lambda: reached(self.port))
        nodes = "".join(f'[[node]]\nname = "{name(nth)}"\n' for nth in range(self.inventory))
        names = ", ".join(f'"{name(nth)}"' for nth in range(self.agents))
        topology = f'name = "bench"\n{nodes}[[service]]\nname = "app"\nmax_unavailable = "100%"\nnodes = [{names}]\n'
        for nth in range(self.agents):
            place = self.folder / name(nth)
            (place / "units").mkdir(parents=True)
            (place / "fleet.toml").write_text(topology)
            (place / "units/app.toml").write_text('[service]\nexec_start = "/bin/sleep 100000"\n')
            (place / "roundsman.toml").write_text(
                '[paths]\nunits = ["units"]\nstate = "state"\nruntime = "run"\nlogs = "logs"\n'
                f'[fleet]\nnode = "{name(nth)}"\n[high_availability]\nredis_url = "redis://127.0.0.1:{self.port}"\n')
            self.run([str(BIN / "supervisord"), "--config", str(place / "roundsman.toml")], f"{name(nth)}/log")
        until(lambda: sum(node["trouble"] is None for node in self.ask("fleet", "status")["nodes"]) >= self.agents)
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
        control = self.folder / name(0) / "run/control.sock"
        done = subprocess.run([BIN / "supervisorctl", "--socket", control, *words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(done.stdout)
        return {"nodes": [{"trouble": done.stderr.decode()}]}

    def commands(self):
        """Node -> when each step that acts came to be in Redis, in ms."""
        found = {}
        for nth in range(self.agents):
            entries = redis(self.port, "XRANGE", f"roundsman:{{bench}}:to:{name(nth)}", "-", "+")
            acts = [int(entry.split("-")[0]) for entry, fields in entries if '"deed":"restart"' in fields[1]]
            found[nth] = acts[-1] if acts else None
        return found

    def begun(self, nth):
        """When the node began its last act, in ms."""
        log = re.sub(r"\x1b\[[0-9;]*m", "", (self.folder / name(nth) / "log").read_text())
        times = re.findall(r"^(\S+)Z\s+INFO the fleet restarts", log, re.MULTILINE)
        return datetime.fromisoformat(times[-1] + "+00:00").timestamp() * 1000 if times else None

    def rate(self):
        """Operations a second of Redis."""
        def operations():
            return int(re.search(r"total_commands_processed:(\d+)", redis(self.port, "INFO", "stats"))[1])
        before = operations()
        time.sleep(IDLE_S)
        return (operations() - before - 1) / IDLE_S

    def end_half(self):
        """Ends daemons of nodes that come last by name."""
        processes = self.processes[1 + self.agents // 2:]
        del self.processes[1 + self.agents // 2:]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(20)
        return len(processes)


def name(nth):
    # In the order of their names.
    return f"vm{nth:04}"


def idle_rate(agents, folder):
    """What 1,000 nodes that do nothing ask of Redis in a second, and what a part of them does here."""
    with Fleet(agents, folder, NODES) as fleet:
        time.sleep(60)  # until those that are not there are known to be away
        all_here = fleet.rate()
        gone = fleet.end_half()
        time.sleep(60)
        each = (all_here - fleet.rate()) / gone
        return all_here, all_here + each * (NODES - agents)


def large_plan(folder):
    """How long a plan over all services on all nodes takes to be seen, in ms, and the manager's peak, in MiB."""
    names = ", ".join(f'"n{nth}"' for nth in range(NODES))
    topology = 'name = "large"\n' + "".join(f'[[node]]\nname = "n{nth}"\n' for nth in range(NODES))
    for nth in range(SERVICES):
        needs = f'depends_on = [{{ service = "s{nth - 1}", on_restart = "restart" }}]\n' if nth else ""
        topology += f'[[service]]\nname = "s{nth}"\nnodes = [{names}]\nmax_unavailable = "10%"\n{needs}'
    (folder / "units").mkdir(parents=True)
    (folder / "fleet.toml").write_text(topology)
    (folder / "roundsman.toml").write_text(
        '[paths]\nunits = ["units"]\nstate = "state"\nruntime = "run"\nlogs = "logs"\n[fleet]\nnode = "n0"\n')
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen([BIN / "supervisord", "--config", folder / "roundsman.toml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        def shown():
            words = [BIN / "supervisorctl", "--socket", folder / "run/control.sock", "fleet", "restart", "s0", "--dry-run"]
            began = time.monotonic()
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
            # Nobody is heard of those nodes, and that is said as well.
            return (time.monotonic() - began) * 1000, len(re.findall(r"^ +restart s\d+@", done.stdout.decode(), re.MULTILINE))
        until(lambda: shown()[1] == NODES * SERVICES)
        took = min(shown()[0] for _ in range(5))
        [manager] = [pid for pid in children(daemon.pid)]
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{manager}/status").read_text())
        return took, int(peak[1]) / 1024
    finally:
        daemon.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(20)


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


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
        (folder / "fleet").mkdir()
        (folder / "idle").mkdir()
        with Fleet(agents, folder / "fleet") as fleet:
            time.sleep(6)
            took, delays = [], []
            for _ in range(TURNS):
                began = time.monotonic()
                fleet.ask("fleet", "restart", "app", "--no-wait")
                until(lambda: fleet.ask("plan", "show").get("state") == "succeeded")
                took.append((time.monotonic() - began) * 1000)
                delays += [fleet.begun(nth) - at for nth, at in fleet.commands().items() if at is not None and nth]
                time.sleep(0.5)
            delays.sort()
            p99 = delays[int(len(delays) * 0.99) - 1]
            print(f"command to act, {agents} agents: median {delays[len(delays) // 2]:.1f} ms, p99 {p99:.1f} ms (asked: {ACT_MS})")
            print(f"plan over {agents} instances at once: {min(took):.0f} to {max(took):.0f} ms (looked at every 200 ms)")
            missed = p99 > ACT_MS
        here, rate = idle_rate(agents, folder / "idle")
        print(f"idle: {here:.1f} operations a second by {agents} of {NODES:,} nodes, {rate:.0f} by all (asked: {IDLE_OPS})")
        missed |= rate > IDLE_OPS
        took, peak = large_plan(folder / "large")
        print(f"plan over {NODES * SERVICES:,} instances: {took:.0f} ms (asked: {PLAN_MS}), manager's peak {peak:.0f} MiB (asked: {PLAN_MIB})")
        missed |= took > PLAN_MS or peak > PLAN_MIB
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if missed else 0)


main()
