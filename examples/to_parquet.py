"""Write what a shard holds, from oldest record to now, to a Parquet file: python to_parquet.py STREAM SHARD_ID FILE.

Needs pyarrow. Then `duckdb -c "SELECT partition_key, count(*) FROM 'FILE' GROUP BY 1"`, or polars, or Spark.
"""

import sys

import boto3
import pyarrow as pa
import pyarrow.parquet as pq

from shardpack import deaggregate_arrow, read_records


def main(stream_name: str, shard_id: str, path: str) -> None:
    client = boto3.client("kinesis")
    position = client.get_shard_iterator(StreamName=stream_name, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
    iterator: str | None = position["ShardIterator"]
    rows = 0
    with pq.ParquetWriter(path, pa.schema(deaggregate_arrow([]))) as file:
        while iterator:
            reply = read_records(client, ShardIterator=iterator, shard_id=shard_id)
            batch = pa.record_batch(reply.arrow())
            file.write_batch(batch)
            rows += batch.num_rows
            iterator = reply.next_shard_iterator if reply.millis_behind_latest else None
    print(f"{rows:,} user records in {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
