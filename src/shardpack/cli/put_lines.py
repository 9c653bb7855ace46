"""Lines of JSON into a producer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..errors import BufferFullError, InvalidRecordError
from ..producer.producer import Producer
from .ndjson import BadLineError, Events, KeyFields, Line, Lines, longer_than
from .prefix import Position, Prefix
from .source import Source

LONGEST_WAIT_SECONDS = 0.1
"""How long a wait for input, or for room, may keep us from what else is to be done."""

MOST_KEY_BYTES = 4 * 256
"""Of a partition key."""


class LinePutter:
    """Puts the lines of a source into a producer, and says of what it puts where it was read.

    ``on_bad_line`` may raise, which ends the reading: all that precedes the line is put then. ``on_turn`` is called ten
    times a second at least, whatever is waited for. ``stopping`` ends the reading early.
    """

    def __init__(
        self,
        producer: Producer,
        fields: KeyFields,
        prefix: Prefix,
        *,
        max_record_bytes: int,
        on_bad_line: Callable[[BadLineError], None],
        on_turn: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._producer, self._fields, self._prefix = producer, fields, prefix
        self._max_record_bytes = max_record_bytes
        self._on_bad_line, self._on_turn, self._stopping = on_bad_line, on_turn, stopping

    def put_lines(self, source: Source, begin: Position) -> None:
        """Put every line from there on. Raises ``BadInputError`` for input that is damaged."""
        lines = Lines(self._max_record_bytes, begin.line + 1, begin.offset)
        chunk: bytes | None = None
        while chunk != b"" and not self._stopping():
            self._on_turn()
            chunk = source.read(LONGEST_WAIT_SECONDS)
            if chunk is None:
                continue
            if not self._put(iter(lines.feed(chunk) if chunk else lines.finish())):
                return
            try:
                lines.check()
            except BadLineError as error:
                self._on_bad_line(error)
            self._prefix.read(Position(lines.number - 1, lines.offset))

    def _put(self, lines: Iterator[Line]) -> bool:
        """Put lines. Returns whether all were, before it was to end."""
        more = True
        while more:
            events, bad = Events(), None
            try:
                events.take(lines, self._fields)
                more = False
            except BadLineError as error:
                bad = error
            if not self._put_events(events):
                return False
            if bad is not None:
                self._on_bad_line(bad)
        return True

    def _put_events(self, events: Events) -> bool:
        if not events.datas:
            return True
        try:
            if max(map(len, events.datas)) + MOST_KEY_BYTES <= self._max_record_bytes:
                return self._put_slice(events, 0, len(events.datas))
        except InvalidRecordError:  # nothing of them was taken: find the line
            pass
        for i, (number, data) in enumerate(zip(events.numbers, events.datas, strict=True)):
            reason = None
            if len(data) + len((events.keys[i] or "-").encode(errors="replace")) > self._max_record_bytes:
                reason = longer_than(self._max_record_bytes)
            else:
                try:
                    if not self._put_slice(events, i, i + 1):
                        return False
                except InvalidRecordError as error:
                    reason = str(error).removeprefix("record 0: ")
            if reason is not None:
                self._on_bad_line(BadLineError(number, reason, data))
        return True

    def _put_slice(self, events: Events, first: int, end: int) -> bool:
        """Put some, all or none, once there is room. Returns whether they were, before it was to end."""
        explicit = events.explicit_hash_keys[first:end] if self._fields.explicit_hash_key is not None else None
        while True:
            try:
                self._producer.put_many(
                    events.keys[first:end], events.datas[first:end], explicit, timeout=LONGEST_WAIT_SECONDS
                )
            except BufferFullError:
                if self._stopping():
                    return False
                self._on_turn()
                continue
            self._prefix.put(events.numbers[first:end], events.ends[first:end])
            return True
