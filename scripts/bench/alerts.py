"""Alerts and probes: how soon an alert leaves, what receivers that hang cost a restart, what many probes cost."""
import contextlib
import json
import os
import selectors
import signal
import socket
import threading
import time
from collections import defaultdict
from itertools import pairwise
from statistics import median

from board import now
from figures import restarts, say
from peers import Roundsman
from session import Session, read

ROUTES = 32  # the most that there may be; each sends one message a second at most
ALERT_ROUNDS = 8
BETWEEN_S = 3.6  # so that no alert of a turn comes when the end of another is told to the same route, ten seconds after it
SERVICES = 1000
PROBES_EACH = 10
PROBE_S = 20  # 500 looks a second
TAKEN = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"


class Receiver:
    """A server on loopback. Records when a request was there, and answers, or never does."""

    def __init__(self, answers=True, keeps=True):
        self.answers, self.keeps, self.seen = answers, keeps, []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.open, self.partial = True, {}
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while self.open:
            for key, _ in self.selector.select(0.2):
                if key.fileobj is self.listener:
                    with contextlib.suppress(OSError):
                        self.selector.register(self.listener.accept()[0], selectors.EVENT_READ)
                else:
                    self.read(key.fileobj)

    def read(self, peer):
        some = b""
        with contextlib.suppress(OSError):
            some = peer.recv(1 << 16)
        request = self.partial.get(peer, b"") + some
        head, _, body = request.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        whole = b"\r\n\r\n" in request and len(body) >= length
        if some and not whole:
            self.partial[peer] = request
            return
        if whole and self.keeps:
            self.seen.append((now(), head.split(b" ", 2)[1].decode(), body))
        if whole and not self.answers:
            self.partial[peer] = b""
            return
        with contextlib.suppress(OSError):
            if whole:
                peer.sendall(TAKEN)
        self.partial.pop(peer, None)
        self.selector.unregister(peer)
        peer.close()

    def close(self):
        self.open = False
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


class Alerting(Roundsman):
    """Each unit has a route of its own, as far as there are routes; each is some lines of settings."""
    def __init__(self, bin_dir, routes, name="roundsman"):
        super().__init__(bin_dir)
        self.routes, self.name = routes, name

    def prepare(self, session, services):
        command = super().prepare(session, services)
        lines = []
        for number, route in enumerate(self.routes):
            lines += ["[[alert.route]]", f'name = "r{number}"', *route]
        for index in range(len(services)):
            lines += ["[[alert.rule]]", f'event = "*:p{index}"', f'routes = ["r{index % len(self.routes)}"]']
        with open(session.dir / "roundsman.toml", "a") as config:
            config.write("\n".join(lines) + "\n")
        return command


class Probing(Roundsman):
    """Each service has probes that ask a server over HTTP."""
    def __init__(self, bin_dir, url): super().__init__(bin_dir); self.url = url

    def prepare(self, session, services):
        command = super().prepare(session, services)
        for index in range(len(services)):
            with open(session.dir / f"units/p{index}.toml", "a") as unit:
                for probe in range(PROBES_EACH if self.url else 0):
                    unit.write(f'[[health]]\nname = "n{probe}"\nhttp = "{self.url}/{index}/{probe}"\ninterval = "{PROBE_S}s"\n')
        return command


def webhook(url): return ['kind = "webhook"', f'url = "{url}"']


def mailbox(url):
    server = url.removeprefix("http://")
    return ['kind = "email"', f'server = "{server}"', 'tls = "none"', 'from = "bench@localhost"', 'to = ["bench@localhost"]']


def alert_ms(bin_dir, place, rounds):
    """From SIGKILL of a service to its alert, whole, at the receiver."""
    receiver = Receiver()
    try:
        with Session(Alerting(bin_dir, [webhook(f"{receiver.url}/{route}") for route in range(ROUTES)]), ROUTES * rounds, *place) as session:
            took = []
            for turn in range(rounds):
                time.sleep(BETWEEN_S)
                killed, first = {}, len(receiver.seen)
                # Others in each turn: an outage is told once, and is over when its service has stayed up for a while.
                for index in range(turn * ROUTES, (turn + 1) * ROUTES):
                    killed[f"p{index}"] = now()
                    os.kill(session.board.read(index)[2], signal.SIGKILL)
                    time.sleep(0.06)
                time.sleep(0.5)
                for at, _, body in receiver.seen[first:]:
                    message = json.loads(body)
                    if message["event"] == "unit_restarted" and message["unit"] in killed:
                        took.append((at - killed.pop(message["unit"])) / 1e6)
                if killed:
                    raise RuntimeError(f"no alert within half a second for {', '.join(killed)}")
            return sorted(took)
    finally:
        receiver.close()


def beside_hanging_us(bin_dir, place, rounds):
    """(µs of a restart without alerts, with web and mail servers that never answer)."""
    hanging = Receiver(answers=False, keeps=False)
    try:
        # As many failures at once as there are routes: each waits for its receiver while others are restarted.
        peers = [Roundsman(bin_dir), Alerting(bin_dir, [(webhook, mailbox)[route % 2](hanging.url) for route in range(ROUTES)], "hanging")]
        found = restarts(peers, place, rounds)
        return median(found["roundsman"]), median(found["hanging"])
    finally:
        hanging.close()


def probes(bin_dir, place):
    """Percent of one core that the looks of many probes cost, above what the same services cost without; and the ms by which
    each look was not one interval after the one before."""
    receiver = Receiver()
    try:
        shares = []
        for url in ("", receiver.url):
            with Session(Probing(bin_dir, url), SERVICES, *place) as session:
                time.sleep(PROBE_S + 5)
                own = session.own()
                receiver.seen.clear()
                began, before = now(), sum(map(cpu_s, own))
                time.sleep(2 * PROBE_S)
                shares.append(100 * (sum(map(cpu_s, own)) - before) / ((now() - began) / 1e9))
        looks = defaultdict(list)
        for at, path, _ in receiver.seen:
            looks[path].append(at)
        late = sorted(abs(second - first - PROBE_S * 1e9) / 1e6 for at in looks.values() for first, second in pairwise(at))
        if len(late) < SERVICES * PROBES_EACH * 0.95:
            raise RuntimeError(f"{len(late)} of {SERVICES * PROBES_EACH} probes asked twice")
        return shares[1] - shares[0], late
    finally:
        receiver.close()


def cpu_s(pid):
    """Of all threads, to the nanosecond: what ticks count misses who runs shorter than one."""
    return sum(int(read(f"/proc/{pid}/task/{task}/schedstat").split()[0]) for task in os.listdir(f"/proc/{pid}/task")) / 1e9


def p99(values):
    values = sorted(values)
    return values[min(len(values) - 1, len(values) * 99 // 100)]


def measured(bin_dir, place, quick):
    took = alert_ms(bin_dir, place, 2 if quick else ALERT_ROUNDS)
    say(f"  alerts: {len(took)}, median {median(took):.1f} ms, p99 {p99(took):.1f} ms, longest {took[-1]:.1f} ms")
    alone, beside = beside_hanging_us(bin_dir, place, 1 if quick else 3)
    share, late = probes(bin_dir, place)
    say(f"  {SERVICES * PROBES_EACH} probes: {share:.1f} % of a core, late by {median(late):.1f} ms, p99 {p99(late):.1f} ms")
    return {"alert": p99(took), "alone": alone, "beside": beside, "probes": share, "late": p99(late)}
