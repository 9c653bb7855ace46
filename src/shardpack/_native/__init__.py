"""The native core: one extension per concept of csrc/. Checks, buffers, references and exceptions; no algorithms."""
