"""For tests, ours and users': a local Kinesis."""
