"""Some of what `make simulate` does for as long as one likes; and that it finds what it should find."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from shardpack.producer import scheduler as scheduler_module
from shardpack.producer.entries import Status
from shardpack.producer.lanes import Lanes
from shardpack.producer.request_size import RequestSize
from shardpack.producer.scheduler import Scheduler
from shardpack.testing.simulation.many import schedule_of, simulate
from shardpack.testing.simulation.promises import FindingError, check_copies, check_order, check_stored
from shardpack.testing.simulation.run import Simulation
from shardpack.testing.simulation.stream import Put


@pytest.mark.parametrize("first", range(0, 4000, 1000))
def test_nothing_is_found(first):
    totals = simulate(range(first, first + 1000))
    assert totals.findings == []
    assert totals.runs == 1000


def test_every_fault_is_injected():
    faults = simulate(range(1000)).faults
    assert {
        "5xx", "AUTO switched", "cut reply", "denied", "describe fails", "expired token", "given up", "internal",
        "late commit", "list denied", "list fails", "list stale", "lost reply", "merge", "no memory", "poison",
        "recreated", "reset before", "split", "throttled", "throttled call", "too large",
        "update shard count",
    } <= set(faults)  # fmt: skip


def test_a_seed_gives_the_same_schedule_each_time():
    assert schedule_of(7) == schedule_of(7)
    assert schedule_of(7) != schedule_of(8)


def test_a_finding_is_printed_with_its_schedule_and_how_to_see_it_again():
    broken = (
        "from shardpack.producer.scheduler import Scheduler\n"
        "from shardpack.testing.simulation.__main__ import main\n"
        "Scheduler.on_error = lambda self, request, error, now: None\n"
        "import sys; sys.argv[1:] = ['--seconds', '60', '--first', '0']; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "again: make simulate SEED=" in done.stdout
    assert " send " in done.stdout
    assert " FOUND FindingError: " in done.stdout
    assert " 5 findings" in done.stdout


def test_one_seed_alone_prints_its_schedule():
    command = [sys.executable, "-m", "shardpack.testing.simulation", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == schedule_of(7) + "\n"


def _put_behind(self, entries, now, **_):
    for entry in entries:
        self[entry.shard_id].queue.append(entry)
        self.line_up(self[entry.shard_id], now)


def _never_backs_off(now, *_):
    return now


def _forgets(self, *_):
    self.pending -= 1


def _denies(self, entry, now, error_code, message):
    self._settle(scheduler_module.Settlement(entry, Status.NOT_STORED, now, error_code=error_code, message=message))


def _trusts(self, entry, stored, now):
    self._lanes[entry.shard_id].on_stored(entry.size, now)
    self._settle_stored(entry, stored, now)
    return True


@pytest.mark.parametrize(
    ("where", "name", "defect", "finding"),
    [
        (Lanes, "put_back", _put_behind, "out of order"),
        ("shardpack.producer.lanes.retry_time", None, _never_backs_off, "hot|spins"),
        (Scheduler, "_settle_failed", _forgets, "pending|asleep"),
        (Scheduler, "_settle_failed", _denies, "wrongly denied|not stored, though"),
        (Scheduler, "_on_stored", _trusts, "lost"),
        (Scheduler, "_can_reshard", lambda *_: False, "stuck|asleep"),
        (RequestSize, "refused", lambda *_, **__: True, "were refused|stuck|hot|spins"),
        (Scheduler, "_hold_children", lambda *_: None, "out of order|pending|waits|settled"),
        (Scheduler, "next_time", lambda *_: None, "stuck|asleep"),
        (Scheduler, "_end", lambda *_: True, "pending|settled twice|in flight|waits|stuck|asleep"),
    ],
)
def test_a_defect_is_found(monkeypatch, where, name, defect, finding):
    if isinstance(where, str):
        monkeypatch.setattr(where, defect)
    else:
        monkeypatch.setattr(where, name, defect)
    totals = simulate(range(3000), most_findings=1)
    ((seed, found),) = totals.findings
    with pytest.raises(FindingError, match=finding):
        Simulation(seed).run()
    assert found.startswith("FindingError: ")


A, B, C = (Put("key", 1, number) for number in range(3))


def test_what_is_checked_at_the_end():
    stored, denied, unknown = Status.STORED, Status.NOT_STORED, Status.UNKNOWN
    check_stored({A: stored, B: denied, C: unknown}, Counter([A]), Counter([A]), set())
    with pytest.raises(FindingError, match="lost"):
        check_stored({A: stored}, Counter([A]), Counter([]), set())
    with pytest.raises(FindingError, match="wrongly denied"):
        check_stored({A: denied}, Counter([A]), Counter([]), set())
    check_copies(Counter([A, A]), Counter([A]))
    with pytest.raises(FindingError, match="duplicate"):
        check_copies(Counter([A, A]), Counter([]))
    check_order({A: stored, B: stored}, [A, B, A], unknown_too=False)
    check_order({A: unknown, B: stored}, [B, A], unknown_too=False)
    with pytest.raises(FindingError, match="out of order"):
        check_order({A: stored, B: stored}, [B, A, B], unknown_too=False)
