"""How many shards a stream needs, which of its keys are too heavy, and where to split."""

from .advice import Advice, advise
from .capacity import KeyLoad, Plan, ShardLoad, Way, plan
from .load import Load, most_to_mean
from .prices import Cost, Prices
from .producer_load import producer_load
from .resharding import Progress, Resharded, reshard
from .resharding_steps import ReshardError, ReshardPlan, Step, reshard_steps
from .sample import Sample
from .strategies import Strategy

__all__ = [
    "Advice",
    "Cost",
    "KeyLoad",
    "Load",
    "Plan",
    "Prices",
    "Progress",
    "ReshardError",
    "ReshardPlan",
    "Resharded",
    "Sample",
    "ShardLoad",
    "Step",
    "Strategy",
    "Way",
    "advise",
    "most_to_mean",
    "plan",
    "producer_load",
    "reshard",
    "reshard_steps",
]
