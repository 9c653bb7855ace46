"""What a producer takes of a whole process, which is a fresh one: memory at a standstill, and time when nothing comes.

python -m shardpack.bench.producer_process standstill URL RECORD_SIZE RECEIPTS    bytes over the baseline, at most
python -m shardpack.bench.producer_process idle URL SECONDS    seconds of processor time, and context switches
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

from .corpus import synthetic
from .producing import new_producer, put_batches

SECONDS_AT_A_STANDSTILL = 3.0


def measured(*arguments: str) -> list[float]:
    """Run one of them in a process of its own; return what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", __name__, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)  # noqa: S603 (our own)
    return [float(figure) for figure in done.stdout.split()]


def standstill(url: str, record_size: int, *, receipts: bool) -> int:
    """Put until the buffer is full, while all of it is throttled; return how much memory that took at the most."""
    from ..errors import BufferFullError  # noqa: PLC0415 (older versions lack it)

    producer = new_producer(url, receipts=receipts, close_timeout_s=0)
    producer.put("first", b"")  # whoever makes a client and speaks to a stream has loaded all that there is
    time.sleep(1)
    rng = random.Random(7)
    kept = []
    baseline = _memory("VmRSS")
    try:
        while True:
            kept.append(producer.put(f"device-{rng.randrange(4_000)}", rng.randbytes(record_size), timeout=0))
    except BufferFullError:
        pass
    if not receipts:
        kept.clear()
    time.sleep(SECONDS_AT_A_STANDSTILL)
    return _memory("VmHWM") - baseline


def _memory(name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def idle(url: str, seconds: float) -> tuple[float, int]:
    """Let a producer be after traffic has ended."""
    producer = new_producer(url)
    put_batches(producer, synthetic(100_000, 100))
    producer.flush()
    time.sleep(1)
    before = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(seconds)
    after = resource.getrusage(resource.RUSAGE_SELF)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw


def main(what: str, url: str, amount: str, receipts: str = "") -> None:
    if what == "standstill":
        sys.stdout.write(f"{standstill(url, int(amount), receipts=receipts == 'receipts')}\n")
        sys.stdout.flush()
        os._exit(0)  # there is nothing to wait for
    sys.stdout.write("{} {}\n".format(*idle(url, float(amount))))


if __name__ == "__main__":
    main(*sys.argv[1:])
