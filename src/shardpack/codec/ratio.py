"""How many bytes of user records make one compressed byte, as a stream's own messages have shown."""

from __future__ import annotations

FIRST_RATIO = 3.0
"""Until a message has shown another one. Text has more; what has less costs one message a second compression."""

SHARE = 8
DEVIATION_SHARE = 4
DEVIATIONS = 3
"""As a TCP sender learns its round trips: averages of which each message is an eighth, and of how far each was off a
quarter; three times that is left free."""


class Ratio:
    """The ratio that messages of a stream have lately, and the one to count on. Not to be shared between threads."""

    def __init__(self) -> None:
        self.mean = FIRST_RATIO
        self._deviation = 0.0
        self._begun = False

    @property
    def safe(self) -> float:
        """What nearly all messages reach, at least 1."""
        return max(1.0, self.mean - DEVIATIONS * self._deviation)

    def saw(self, ratio: float, *, too_large: bool = False) -> None:
        """Take what a message has shown. ``too_large``: it was filled by what was safe, and did not fit."""
        if not self._begun:
            self.mean, self._deviation, self._begun = ratio, ratio / SHARE, True
            return
        error = ratio - self.mean
        self._deviation += (abs(error) - self._deviation) / DEVIATION_SHARE
        self.mean = min(self.mean, ratio) if too_large else self.mean + error / SHARE
