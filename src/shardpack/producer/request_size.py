"""How large a request may be: as the stream's limits say, or as the service has shown by refusing one."""

from __future__ import annotations

from dataclasses import dataclass

from ..limits import KIB, MAX_REQUEST_BYTES, REQUEST_MARGIN, Limits

LEAST_BYTES = 64 * KIB
"""Requests that are refused below this are not refused for their size, whatever is said."""


@dataclass(slots=True)
class RequestSize:
    """The bytes of a request of several entries.

    The service's own texts differ on what it takes, 5 or 10 MiB, and so may proxies on the way. So what is refused as
    too large is tried again in smaller requests, and those that follow are as small from the beginning, until the
    stream's description has another limit.
    """

    _learned: int | None = None
    _instead_of: int = 0

    def most_bytes(self, limits: Limits) -> int:
        """Return how many bytes a request may have, as far as is known."""
        if self._learned is None or limits.max_request_bytes != self._instead_of:
            return limits.max_request_bytes
        return self._learned

    def room(self, limits: Limits) -> int:
        """Return how many bytes a request of several entries is filled with."""
        most = self.most_bytes(limits)
        return most - most // REQUEST_MARGIN

    def refused(self, size: int, limits: Limits, *, is_told: bool) -> bool:
        """Take that a request of several entries, of ``size`` bytes, was refused. Returns whether smaller ones follow.

        They do if its size ``is_told`` to be why; beyond what all texts of the service grant, that is taken for the
        reason whatever is said. First the lesser of the documented limits is tried, then halves of what was refused.
        """
        if not is_told and size <= MAX_REQUEST_BYTES:
            return False
        if size > self.most_bytes(limits):  # it was sent before that was known
            return True
        smaller = MAX_REQUEST_BYTES if size > MAX_REQUEST_BYTES else size // 2
        if smaller < LEAST_BYTES:
            return False
        self._learned, self._instead_of = smaller, limits.max_request_bytes
        return True
