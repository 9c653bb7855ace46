"""User records out of whatever a consumer holds."""

from .deaggregate import UserRecords, deaggregate, iter_deaggregate

__all__ = ["UserRecords", "deaggregate", "iter_deaggregate"]
