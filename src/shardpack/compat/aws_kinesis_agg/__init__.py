"""A drop-in for aws_kinesis_agg 1.2.3, AWS's Python library: the same names, arguments and results.

``from shardpack.compat.aws_kinesis_agg.deaggregator import deaggregate_records`` is the whole migration; or
``shardpack.compat.install()``, and no import changes. What is different is docs/migrate/from-aws-kinesis-agg.md.
"""

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_SIZE = 16
MAX_BYTES_PER_RECORD = 1024 * 1024
