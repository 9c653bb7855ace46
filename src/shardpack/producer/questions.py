"""What has to be asked of the service now and then, and at once when a reply leaves doubts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ASK_AGAIN_SECONDS = 300.0
"""A stream can be switched to AUTO distribution, or be another one of that name, at any time."""

CURIOUS_SECONDS = 1.0
"""What only makes curious asks this long after the last answer at the earliest."""


class Wish(Enum):
    """What the scheduler has to be told."""

    SHARDS = "shards"
    DESCRIPTION = "description"


@dataclass(slots=True)
class Question:
    """When to ask it, and whether nothing may be sent before it is answered."""

    at: float = 0.0
    asked: bool = False
    in_doubt: bool = False
    failures: int = 0
    _answered_at: float = 0.0
    _overtaken: bool = False  # the doubts are younger than the call under way

    def ask(self, now: float) -> bool:
        """Whether to ask now; then it is not asked again before it is answered."""
        if self.asked or now < self.at:
            return False
        self.asked, self._overtaken = True, False
        return True

    def wait(self, now: float) -> None:
        """Ask when an answer that came now is too old."""
        self.at, self._answered_at = now + ASK_AGAIN_SECONDS, now

    def be_curious(self, now: float) -> None:
        """Ask soon. Sending goes on."""
        if not self.failures:
            self.at = min(self.at, max(now, self._answered_at + CURIOUS_SECONDS))

    def doubt(self, now: float) -> None:
        """Ask at once, and send nothing before the answer."""
        self.in_doubt, self._overtaken = True, True
        if not self.failures:
            self.at = now

    def answer(self, now: float) -> bool:
        """Take an answer, unless it may be older than the doubts: then ask once more."""
        self.asked = False
        if self._overtaken:
            self.at = now
            return False
        self.wait(now)
        self.in_doubt, self.failures = False, 0
        return True

    def fail(self, again_at: float) -> None:
        """Ask again then."""
        self.asked = False
        self.failures += 1
        self.at = again_at
