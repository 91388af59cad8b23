"""Benchmarks: what each command measures is in its first lines."""
