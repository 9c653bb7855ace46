# The pool of outputs has no Python names; Aggregator reaches it by cimport.
