"""Tests of the benchmark: of its instruments, and that every part of it runs."""
