"""Tests of both distributions; the layout mirrors `src`."""
