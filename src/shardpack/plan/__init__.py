"""How many shards a stream needs, and where their hash ranges end."""

from .load import Load, most_to_mean

__all__ = ["Load", "most_to_mean"]
