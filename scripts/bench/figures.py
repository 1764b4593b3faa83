"""What is measured. All peers take turns within one run, so that a busy moment of the machine meets each of them."""
import contextlib
import subprocess
import sys
import time
from collections import defaultdict
from statistics import median

from board import now
from session import Session, pss_kib, switches

POOL = 40  # services that are killed in turn
BLOCK = 5  # of them in a row, before the next supervisor has its turn
SLOW_US, SLOW_KILLS = 200_000, 2  # who takes longer gets fewer kills a turn: it polls or waits, and more would tell no more
SETTLED_S = 1.3  # runit and s6 punish whoever lived shorter than a second
MANY = 1000
MASS = 500
THOUSANDS = 5000


def say(text):
    print(text, file=sys.stderr, flush=True)


def restarts(peers, place, rounds):
    """Peer -> µs from SIGKILL to the successor's first instruction. All supervisors stand side by side."""
    found = defaultdict(list)
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(Session(peer, POOL, *place)) for peer in peers]
        for turn in range(rounds):
            time.sleep(SETTLED_S)
            for block in range(POOL // BLOCK):
                # In another order each time: the machine has spells that outlast a block.
                first = (turn + block) % len(sessions)
                for session in sessions[first:] + sessions[:first]:
                    took = found[session.peer.name]
                    slow = bool(took) and median(took) > SLOW_US
                    if not slow or block == 0:
                        took += block_us(session, block, slow)
            say(f"  restarts, turn {turn + 1}: " + ", ".join(f"{name} {median(took):.0f}" for name, took in found.items()) + " µs")
    return found


def block_us(session, block, slow):
    """Kills a few in a row. The first one is not counted: it finds what the others have left in the caches."""
    took = []
    for step in range(SLOW_KILLS if slow else BLOCK):
        time.sleep(0.02)
        one = session.restart_us(block * BLOCK + step)
        if one is None:
            raise RuntimeError(f"{session.peer.name}: a killed service did not come back")
        took.append(one)
    return took[1:]


def boots(peers, place, rounds, seconds):
    """Peer -> figure -> values, from booting 1,000 services; memory, idle and status are of the same boots."""
    found = defaultdict(lambda: defaultdict(list))
    for turn in range(rounds):
        for peer in peers:
            figures = found[peer.name]
            with Session(peer, MANY, *place) as session:
                figures["boot"].append(session.boot_ms())
                time.sleep(2.5)
                figures["memory"].append(sum(map(pss_kib, session.own())) / 1024)
                if peer.name == "roundsman":
                    figures["status"] += status_ms(session)
                    if turn == rounds - 1:
                        figures["idle"] = idle(session, seconds)
                elif turn == rounds - 1:
                    # Memory that was not touched for a while is slower, everyone's.
                    time.sleep(ENDS_S + seconds)
                figures["stop"].append(session.stop_ms())
            say(f"  boot {turn + 1}: {peer.name} {figures['boot'][-1]:.0f} ms, {figures['memory'][-1]:.1f} MiB, stop {figures['stop'][-1]:.0f} ms")
    return found


def masses(peers, place, rounds):
    """Peer -> ms until all of MASS services, killed at once, are there again. All supervisors stand side by side."""
    found = defaultdict(list)
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(Session(peer, MASS, *place)) for peer in peers]
        for turn in range(rounds):
            time.sleep(SETTLED_S)
            first = turn % len(sessions)
            for session in sessions[first:] + sessions[:first]:
                found[session.peer.name].append(session.mass_ms())
                time.sleep(0.5)
            say(f"  mass, turn {turn + 1}: " + ", ".join(f"{name} {median(took):.0f}" for name, took in found.items()) + " ms")
    return found


def thousands(peer, place):
    """(descriptors, [status in ms]) of one supervisor with THOUSANDS of services."""
    with Session(peer, THOUSANDS, *place) as session:
        time.sleep(2.5)
        found = session.descriptors(), status_ms(session)
        say(f"  {peer.name}: {found[0]} descriptors, status {median(found[1]):.1f} ms")
        return found


def single_memory(peer, place):
    """MiB with one service: what the many are compared with."""
    with Session(peer, 1, *place) as session:
        time.sleep(2.5)
        return sum(map(pss_kib, session.own())) / 1024


def status_ms(session):
    took = []
    for _ in range(7):
        began = now()
        answer = subprocess.run([str(word) for word in session.peer.status(session)], stdout=subprocess.PIPE, check=False)
        took.append((now() - began) / 1e6)
        if answer.stdout.count(b"\n") < session.count:
            raise RuntimeError(f"status shows too little (exit code {answer.returncode}): {answer.stdout[-200:]!r}")
    return took


# What still ends by itself so long after a burst of work is no wake-up of an idle supervisor.
ENDS_S = 12


def idle(session, seconds):
    """Context switches of each of the supervisor's processes while nothing happens."""
    time.sleep(ENDS_S)
    before = {pid: switches(pid) for pid in session.own()}
    time.sleep(seconds)
    return [switches(pid) - count for pid, count in before.items()]
