"""Delivery: the only place with clocks."""
