"""Fold user records by key before they reach a database: one write for each key in place of one for each record."""

from .change_events import Change
from .folding import KeyGroups, count, group_by_key, latest, sum  # noqa: A004 - read as combine.sum
from .merging import Changes, merge

__all__ = ["Change", "Changes", "KeyGroups", "count", "group_by_key", "latest", "merge", "sum"]
