"""Dead letters that are kept by a service: S3, or another stream. ``shardpack[stream]`` has it."""
