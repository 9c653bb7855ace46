"""``Producer.stats()`` for the systems that watch: a module each, which loads that system's library."""
