"""Where dead letters are kept, and how they are sent again."""

from __future__ import annotations

from collections.abc import Sequence

from shardpack import DeadLetter, DeadLetterSink, Producer, SQLiteDeadLetters, redrive
from shardpack.consume.stream import StreamReader
from shardpack.dead_letters import (
    CallbackDeadLetters,
    DeadLetterStore,
    Drained,
    KinesisDeadLetters,
    Redriven,
    S3DeadLetters,
    drain,
    one_by_one,
)


def keep(letters: Sequence[DeadLetter]) -> None:
    print(len(letters))


file = SQLiteDeadLetters("dead.db")
bucket = S3DeadLetters("my-bucket", "dead")
sinks: list[DeadLetterSink] = [file, bucket, KinesisDeadLetters("telemetry-dead"), CallbackDeadLetters(keep)]
Producer("telemetry", dead_letters=bucket)
Producer("telemetry", dead_letters=keep)  # wrong: arg-type
CallbackDeadLetters(lambda: None)  # wrong: arg-type, misc

numbered: DeadLetterStore[int] = file
named: DeadLetterStore[str] = bucket
unnumbered: DeadLetterStore[int] = bucket  # wrong: assignment
file.remove(name for name, _ in bucket)  # wrong: misc
bucket.remove(name for name, _ in bucket)

done: Redriven = redrive(bucket, one_by_one(lambda letter: print(letter.data)), since=0.0)
redrive(file, lambda letters: [True] * len(letters), where=lambda letter: letter.handler == "alerts")
redrive(KinesisDeadLetters("telemetry-dead"), lambda letters: [True] * len(letters))  # wrong: arg-type

with StreamReader("telemetry-dead", until="latest") as batches:
    drained: Drained = drain("telemetry-dead", ((batch.shard_id, batch.records) for batch in batches), file)
