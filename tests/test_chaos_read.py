"""The reader while it is killed again and again: a small run of `make chaos-read`."""

from __future__ import annotations

import pytest

from shardpack.testing import chaos_read


@pytest.mark.parametrize("handlers", [0, 3])
def test_nothing_is_lost_nor_out_of_order_nor_again_after_its_checkpoint(local_kinesis, handlers):
    done = chaos_read.run(local_kinesis, records=20_000, seed=1, put_s=8.0, kill_s=(0.8, 2.0), handlers=handlers)
    assert not done.defects, str(done)
    assert len(done.reshardings) == 6
    assert done.kills >= 2
    assert done.handled >= 20_000 * max(1, handlers)
    assert done.checkpoints > 10
    assert done.injected.total() > 20
