"""What can happen to a fleet, one function each. A fault does its harm at a moment drawn from the seed, heals it, and tells what it did.

None of them knows what the daemons are doing inside: kills fall between the steps of a commit, into a snapshot or a rebalance because they
come a random time after one was begun, and because there are many.
"""

import random
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.campaign.fleet import Fleet, Member
from tests.faults.campaign.scrapes import scrape
from tests.kafka.brokers import Cluster

MOST_MEMBERS = 4
GLANCE_SECONDS = 0.02
PROGRESS_WITHIN_SECONDS = 2.0
WORK_WITHIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Arena:
    """A round as its faults see it. `cluster` is None where the log is embedded; then there is one member, which alone can own it."""

    draw: random.Random
    fleet: Fleet
    session_seconds: float
    cluster: Cluster | None
    brokers: Sequence[int]
    broker_in_trouble: AbstractContextManager[object]
    """Held while one is: rounds that share a cluster trouble one at a time."""
    panes_topic: str

    def anyone(self) -> Member:
        return self.draw.choice(sorted(self.fleet.running(), key=lambda member: member.name))

    def await_work(self) -> None:
        """Returns when a member works on a partition, or nobody has come to that for long."""
        deadline = time.monotonic() + WORK_WITHIN_SECONDS
        while time.monotonic() < deadline:
            members = self.fleet.running()
            if any(series.startswith("lag_records") for member in members for series, _ in scrape(member.name, member.port).samples()):
                return
            time.sleep(GLANCE_SECONDS)

    def sleep(self, shortest: float, longest: float) -> float:
        """For a while drawn from the seed; how long that was."""
        seconds = self.draw.uniform(shortest, longest)
        time.sleep(seconds)
        return seconds


Fault = Callable[[Arena], str]


def kill_at_any_moment(arena: Arena) -> str:
    """`kill -9`, and another start at once or only when the others have taken over."""
    victim = arena.anyone()
    victim.kill()
    away = arena.sleep(0, 1.4 * arena.session_seconds) if arena.draw.random() < 0.5 else 0.0
    arena.fleet.restart(victim)
    return f"killed {victim.name}, away for {away:.1f} s"


def kill_after_progress(arena: Arena) -> str:
    """Soon after something was committed: in the work, or between the steps, of the next commit."""
    victim = arena.anyone()
    _await_progress(victim)
    delay = arena.sleep(0, 0.4)
    victim.kill()
    arena.fleet.restart(victim)
    return f"killed {victim.name} {delay * 1_000:.0f} ms after a commit"


def kill_in_a_rebalance(arena: Arena) -> str:
    """A member comes or goes, and while the others make that out one of them is killed."""
    running = arena.fleet.running()
    if len(running) < MOST_MEMBERS:
        moved = arena.fleet.add()
        delay = arena.sleep(0.8, 2.5)  # it takes about a second to come
        what = f"{moved.name} came"
    else:
        moved = arena.anyone()
        moved.terminate()
        delay = arena.sleep(0, 0.6)
        what = f"{moved.name} went"
        arena.fleet.reap(moved)
    victim = arena.anyone()
    victim.kill()
    arena.fleet.restart(victim)
    return f"{what}, and {delay:.1f} s into that {victim.name} was killed"


def kill_in_a_snapshot(arena: Arena) -> str:
    """Asked to end, it commits, writes a snapshot and leaves; in one of these it is killed."""
    victim = arena.anyone()
    victim.terminate()
    delay = arena.sleep(0, 0.5)
    victim.kill()
    arena.fleet.restart(victim)
    return f"killed {victim.name} {delay * 1_000:.0f} ms after SIGTERM"


def be_a_zombie(arena: Arena) -> str:
    """Stopped for longer than the group waits; then it goes on where it was, with partitions that are others' by now."""
    victim = arena.anyone()
    if arena.draw.random() < 0.5:
        _await_progress(victim)
    victim.pause()
    seconds = arena.sleep(arena.session_seconds + 0.3, arena.session_seconds + 2.5)
    victim.resume()
    return f"stopped {victim.name} for {seconds:.1f} s"


def hang(arena: Arena) -> str:
    """Stopped, but not for as long as that."""
    victim = arena.anyone()
    victim.pause()
    seconds = arena.sleep(0.1, 0.8 * arena.session_seconds)
    victim.resume()
    return f"stopped {victim.name} for {seconds:.1f} s, which is no death"


def add_a_member(arena: Arena) -> str:
    if len(arena.fleet.running()) >= MOST_MEMBERS:
        return remove_a_member(arena)
    return f"{arena.fleet.add().name} came"


def remove_a_member(arena: Arena) -> str:
    if len(arena.fleet.running()) < 2:
        return add_a_member(arena)
    member = arena.anyone()
    arena.fleet.remove(member)
    return f"{member.name} went"


def restart_in_order(arena: Arena) -> str:
    """As a deployment does it."""
    member = arena.anyone()
    arena.fleet.remove(member)
    arena.fleet.restart(member)
    return f"{member.name} was restarted"


def fill_the_disk(arena: Arena) -> str:
    """No file of it grows any more, while it works and when it writes its last snapshot."""
    victim = arena.anyone()
    victim.limit_files(True)
    seconds = arena.sleep(0.3, 1.5)
    if arena.draw.random() < 0.5:
        victim.limit_files(False)
        return f"the disk of {victim.name} was full for {seconds:.1f} s"
    arena.fleet.remove(victim)
    arena.fleet.restart(victim)
    return f"{victim.name} was restarted with its disk full"


def take_the_state_away(arena: Arena) -> str:
    """The folder for snapshots is gone and a file in its place; later there is a folder again, as it was or empty."""
    victim = arena.anyone()
    state = victim.state
    state.parent.mkdir(parents=True, exist_ok=True)
    kept = state.with_name(f"{state.name}.kept")
    shutil.rmtree(kept, ignore_errors=True)
    if state.exists():
        state.rename(kept)
    state.write_text("in the way")
    victim.kill()
    arena.fleet.restart(victim)
    seconds = arena.sleep(1, 2)
    state.unlink()
    if kept.exists() and arena.draw.random() < 0.5:
        kept.rename(state)
    return f"killed {victim.name}, which found no folder for its state for {seconds:.1f} s"


def damage_snapshots(arena: Arena) -> str:
    """Bytes of some are wrong, some are cut, some are gone; then whoever reads them is killed and started."""
    victim = arena.anyone()
    if arena.draw.random() < 0.5:
        arena.fleet.remove(victim)  # and so leaves one
    else:
        victim.kill()
    files = sorted(path for path in victim.state.rglob("*") if path.is_file())
    for path in files:
        _damage(arena.draw, path)
    arena.fleet.restart(victim)
    return f"damaged {len(files)} snapshots and restarted {victim.name}"


def kill_a_broker(arena: Arena) -> str:
    assert arena.cluster is not None
    node = arena.draw.choice(arena.brokers)
    with arena.broker_in_trouble:
        arena.cluster.kill(node)
        seconds = arena.sleep(0.2, 2)
        arena.cluster.start(node)
    return f"killed broker {node}, back after {seconds:.1f} s and its start"


def hang_a_broker(arena: Arena) -> str:
    assert arena.cluster is not None
    node = arena.draw.choice(arena.brokers)
    with arena.broker_in_trouble:
        arena.cluster.pause(node)
        seconds = arena.sleep(0.2, 1.5)
        arena.cluster.resume(node)
    return f"stopped broker {node} for {seconds:.1f} s"


def force_compaction(arena: Arena) -> str:
    """The panes are compacted all the time from now on."""
    from tests.faults.campaign.topics import compact_always

    assert arena.cluster is not None
    compact_always(arena.cluster.bootstrap, arena.panes_topic)
    return "compaction forced"


OF_ONE: Sequence[Fault] = (
    kill_at_any_moment,
    kill_after_progress,
    kill_after_progress,
    kill_in_a_snapshot,
    hang,
    restart_in_order,
    fill_the_disk,
    take_the_state_away,
    damage_snapshots,
)
"""What can happen to a daemon that is alone with an embedded log."""
OF_A_GROUP: Sequence[Fault] = (*OF_ONE, kill_in_a_rebalance, kill_in_a_rebalance, add_a_member, remove_a_member, be_a_zombie, be_a_zombie)
OF_BROKERS: Sequence[Fault] = (kill_a_broker, hang_a_broker)
LONG: Sequence[Fault] = (be_a_zombie, kill_a_broker, take_the_state_away)
"""A round has each of them once at most."""


def chosen(draw: random.Random, *, in_a_group: bool, count: int) -> list[Fault]:
    """The faults of a round, in order."""
    if not in_a_group:
        return [draw.choice(OF_ONE) for _ in range(count)]
    found: list[Fault] = [force_compaction] if draw.random() < 0.3 else []
    while len(found) < count:
        fault = draw.choice(OF_BROKERS if draw.random() < 0.12 else OF_A_GROUP)
        if fault not in found or fault not in LONG:
            found.append(fault)
    return found


def _await_progress(member: Member) -> None:
    """Returns when it shows more events than it did, or has had time to."""
    deadline = time.monotonic() + PROGRESS_WITHIN_SECONDS
    before = _events(member)
    while _events(member) <= before and time.monotonic() < deadline:
        time.sleep(GLANCE_SECONDS)


def _events(member: Member) -> float:
    return sum(value for series, value in scrape(member.name, member.port).samples() if series.startswith("events_total"))


def _damage(draw: random.Random, path: Path) -> None:
    content = path.read_bytes()
    match draw.choice(("gone", "cut", "empty", "flipped", "spared")):
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(content[: draw.randrange(len(content) + 1)])
        case "empty":
            path.write_bytes(b"")
        case "flipped" if content:
            place = draw.randrange(len(content))
            path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        case _:
            pass
