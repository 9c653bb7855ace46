"""Fewer bytes: compressed aggregates, and codecs of payloads."""
