"""Write what a shard holds, from oldest record to now, to a Parquet file: python to_parquet.py STREAM SHARD_ID FILE.

Needs pyarrow. Then `duckdb -c "SELECT partition_key, count(*) FROM 'FILE' GROUP BY 1"`, or polars, or Spark.
"""

import sys

import boto3
import pyarrow as pa
import pyarrow.parquet as pq

from shardpack import deaggregate_arrow


def main(stream_name: str, shard_id: str, path: str) -> None:
    client = boto3.client("kinesis")
    iterator = client.get_shard_iterator(StreamName=stream_name, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
    response = {"NextShardIterator": iterator["ShardIterator"], "MillisBehindLatest": 1}
    rows = 0
    with pq.ParquetWriter(path, pa.schema(deaggregate_arrow([]))) as file:
        while response.get("NextShardIterator") and response["MillisBehindLatest"]:
            response = client.get_records(ShardIterator=response["NextShardIterator"])
            batch = pa.record_batch(deaggregate_arrow(response))
            file.write_batch(batch)
            rows += batch.num_rows
    print(f"{rows:,} user records in {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
