"""Benchmarks: programs that print tables of ratios, measured interleaved in one run on real servers."""
