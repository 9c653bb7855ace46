"""Where do keys go? python shard_of.py SHARD_COUNT < keys.txt, one partition key a line."""

import sys
from collections import Counter

from shardpack import ShardMap


def main(shard_count: int) -> None:
    shard_map = ShardMap.uniform(shard_count)
    keys = sys.stdin.read().splitlines()
    for index, count in sorted(Counter(shard_map.assign(keys)).items()):
        print(f"{shard_map[index].shard_id}  {count:>10,}  {count / len(keys):6.1%}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
