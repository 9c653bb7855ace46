"""The delivery of a stream, simulated: the scheduler against a Kinesis, a network and a clock that a seed makes.

    make simulate SECONDS=60        as many seeds as fit
    make simulate SEED=4711         one seed, with its schedule

Each seed draws a plan: what is put and when, how the service is set up, which faults there are and how often, what
becomes of the shards. Then the faults end, everything is let settle, the shards are read, and what was promised is
checked (`promises.py`). A seed gives the same schedule each time, so a finding can be looked at again.
"""
