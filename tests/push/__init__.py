"""Push: the two transports under faults and load, on real servers."""
