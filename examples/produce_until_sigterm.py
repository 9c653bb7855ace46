"""Put readings until SIGTERM or Ctrl-C, and deliver them before the end: python produce_until_sigterm.py STREAM."""

import signal
import sys
import threading

from shardpack import BufferFullError, Producer

DEVICES = [f"device-{device}" for device in range(100)]


def main(stream_name: str) -> None:
    stop = threading.Event()

    def end(_signal_number: int, _frame: object) -> None:
        stop.set()  # nothing else: it may run between any two steps of the loop

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)

    put = 0
    # closing takes less than the supervisor grants before it kills: 10 s (Docker), 30 s (Kubernetes), 90 s (systemd)
    with Producer(stream_name, receipts=False, close_timeout_s=8) as producer:
        while not stop.wait(0.01):
            try:
                producer.put_many(DEVICES, [b'{"reading": %d}' % (put + i) for i in range(100)], timeout=1)
            except BufferFullError:
                continue  # nothing was taken; has the signal come meanwhile?
            if put == 0:
                print("putting", flush=True)
            put += 100
    stats = producer.stats()
    failed = stats.user_records_failed + stats.user_records_unknown
    print(f"{put:,} readings put, {stats.user_records_stored:,} stored, {failed:,} not, or perhaps not")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1])
