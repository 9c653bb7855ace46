# Records at the door have no Python names; Aggregator reaches them by cimport.
