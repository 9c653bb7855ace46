"""shardpack bench: ours beside the peers, in one process, turn by turn."""
