"""AWS's aws_kinesis_agg itself, which is what its drop-in is held against. Importing it changes ``sys.path``."""

from __future__ import annotations

import sys
from importlib import import_module

_path = list(sys.path)
package = import_module("aws_kinesis_agg")
aggregator = import_module("aws_kinesis_agg.aggregator")
deaggregator = import_module("aws_kinesis_agg.deaggregator")
sys.path[:] = _path
