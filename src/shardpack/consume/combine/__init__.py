"""Fold user records by key before they reach a database: one write for each key in place of one for each record."""

from .folding import KeyGroups, count, group_by_key, latest, sum  # noqa: A004 - read as combine.sum

__all__ = ["KeyGroups", "count", "group_by_key", "latest", "sum"]
