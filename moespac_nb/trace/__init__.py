"""A decode written down: steps, traces, their files and their locality. Numpy only."""
