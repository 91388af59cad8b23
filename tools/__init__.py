"""How things are made: pair, traces, notebooks, docs, releases, benchmarks."""
