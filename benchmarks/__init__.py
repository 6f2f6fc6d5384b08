"""Benchmarks: one command each, figures beside a peer and beside the physical limit."""
