"""Dead letters into a stream again: each key in order, whatever is not stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .._native.receipt import Receipt
from ..dead_letters.letter import DeadLetter
from ..dead_letters.redriving import Outcome
from ..errors import DeliveryError, InvalidRecordError
from ..limits import KIB, MIB
from ..transport import Transport
from .faults import INVALID
from .producer import Producer
from .scheduler import MISPLACED

Send = Callable[[Sequence[DeadLetter]], Iterator[Outcome]]

NO_LINGER_BUT_FLUSH_MS = 3_600_000

AROUND_A_LETTER = 64
"""More bytes than an aggregated record has around the key and the data of a user record, explicit hash key and all."""
KEY_OF_NO_ONE = "-"  # what a producer gives a user record without a key
MOST_TOGETHER = MIB - 2 * KIB
"""Of a Kinesis record, less its frame and its own partition key."""

FAULTS_OF_A_LETTER = INVALID | {MISPLACED, "ParamValidationError"}
"""Error codes of letters that fail alone; with any other the next ones would too."""


@contextmanager
def sending_to(
    stream: str | None = None,
    *,
    client: Any = None,
    transport: Transport | None = None,
    record_ttl_ms: float = 60_000,
) -> Iterator[Send]:
    """Have a ``send`` for ``redrive``, in a ``with`` block: it puts letters into a stream, aggregated, in order.

    The letters of a shard go as one Kinesis record, and the next ones once it has its outcome: so none is stored behind
    an earlier one of its key that was not. One that is not stored in ``record_ttl_ms`` is given up. What no later
    letter would fare better with is raised after the outcomes, a ``DeliveryError``, and ends the redrive: no such
    stream, nothing to sign with. ``stream``, ``client`` and ``transport`` are a `Producer`'s. For one redrive at a
    time. In memory is a Kinesis record for each shard.
    """
    with Producer(
        stream,
        client=client,
        transport=transport,
        linger_ms=NO_LINGER_BUT_FLUSH_MS,
        max_aggregate_bytes=MIB,
        record_ttl_ms=record_ttl_ms,
        close_timeout_s=0,  # whatever was sent has been waited for, or nobody wants to wait
    ) as producer:
        yield lambda letters: _send(producer, letters)


def _send(producer: Producer, letters: Sequence[DeadLetter]) -> Iterator[Outcome]:
    refused: set[tuple[str, str | None]] = set()
    for together in _together(letters):
        put: list[Receipt | Outcome] = []
        ending: BaseException | None = None
        try:
            for letter in together:
                put.append(False if (letter.stream, letter.partition_key) in refused else _put(producer, letter))
                if isinstance(put[-1], DeliveryError) and letter.partition_key is not None:
                    refused.add((letter.stream, letter.partition_key))
            producer.flush()
        except BaseException as raised:  # noqa: BLE001 - after what is stored is told
            ending = raised
        for letter, one in zip(together, put, strict=False):
            outcome = _outcome(one) if isinstance(one, Receipt) else one
            if isinstance(outcome, DeliveryError):
                if letter.partition_key is not None:
                    refused.add((letter.stream, letter.partition_key))
                if ending is None and isinstance(one, Receipt) and outcome.error_code not in FAULTS_OF_A_LETTER:
                    ending = outcome
            yield outcome
        if ending is not None:
            raise ending


def _together(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Cut a batch so that the letters of each part fit one Kinesis record, whatever their shards."""
    part: list[DeadLetter] = []
    size = 0
    for letter in letters:
        most = len(letter.data) + 4 * len(letter.partition_key or KEY_OF_NO_ONE) + AROUND_A_LETTER
        if part and size + most > MOST_TOGETHER:
            yield part
            part, size = [], 0
        part.append(letter)
        size += most
    if part:
        yield part


def _put(producer: Producer, letter: DeadLetter) -> Receipt | DeliveryError:
    key = letter.partition_key
    if key is None and letter.explicit_hash_key is not None:
        key = KEY_OF_NO_ONE
    try:
        return producer.put(key, letter.data, letter.explicit_hash_key)
    except InvalidRecordError as refusal:
        return DeliveryError(str(refusal), error_code=type(refusal).__name__)


def _outcome(receipt: Receipt) -> Outcome:
    try:
        receipt.result(0)
    except DeliveryError as error:
        return error
    except TimeoutError:
        return DeliveryError("its outcome was not waited for", error_code="Interrupted", maybe_stored=True)
    return True
