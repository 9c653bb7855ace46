"""User records out of whatever a consumer holds."""

from .deaggregation import UserRecords, deaggregate, deaggregate_columns, iter_deaggregate

__all__ = ["UserRecords", "deaggregate", "deaggregate_columns", "iter_deaggregate"]
