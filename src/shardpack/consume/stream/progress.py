"""How far a shard is handled, of what was handed out of it: the way of a checkpoint to its store."""

from __future__ import annotations

import threading

from .checkpoints import SHARD_END, Checkpoint, CheckpointMovedBackError, CheckpointStore


class Progress:
    """What was handed out of a shard, and what is kept as handled.

    Of a shard that was read to its end, the checkpoint of the last user record becomes ``SHARD_END``: at once, where it
    is kept already. Any thread may call.
    """

    def __init__(self, shard_id: str, kept: Checkpoint, store: CheckpointStore) -> None:
        self._shard_id = shard_id
        self._store = store
        self._lock = threading.Lock()
        self._kept = kept
        self._last = ""  # sequence number of what was handed out last
        self._all_kept = True
        self._ended = False

    def hand_out(self, last_sequence_number: str) -> None:
        """Note that the user records of all Kinesis records up to this one are handed out."""
        with self._lock:
            self._last, self._all_kept = last_sequence_number, False

    def keep(self, checkpoint: Checkpoint, *, whole: bool) -> None:
        """Keep that all up to this one is handled; ``whole`` is whether it is the last of its Kinesis record."""
        with self._lock:
            if self._kept.is_after(checkpoint):
                if whole and self._ended and self._all_kept:
                    return  # it was the last one: the end is kept
                raise CheckpointMovedBackError(
                    f"{self._shard_id}: {_words(checkpoint)} is before the kept checkpoint, {_words(self._kept)}"
                )
            self._all_kept = self._all_kept or (whole and checkpoint.sequence_number == self._last)
            if self._ended and self._all_kept:
                checkpoint = Checkpoint(SHARD_END)
            if checkpoint.is_after(self._kept):
                self._store.write({self._shard_id: checkpoint})
                self._kept = checkpoint

    def advance(self, checkpoint: Checkpoint) -> None:
        """Keep that nothing came up to here, where all that was handed out is kept as handled."""
        with self._lock:
            if self._all_kept and not self._ended and checkpoint.is_after(self._kept):
                self._store.write({self._shard_id: checkpoint})
                self._kept = checkpoint

    def end(self) -> None:
        """Note that there is no more of the shard than was handed out."""
        with self._lock:
            self._ended = True
            if self._all_kept and Checkpoint(SHARD_END).is_after(self._kept):
                self._store.write({self._shard_id: Checkpoint(SHARD_END)})
                self._kept = Checkpoint(SHARD_END)


def _words(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.sequence_number}/{checkpoint.sub_sequence_number}"
