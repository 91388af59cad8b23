"""A recorded decode: steps, columns, files, and what can be read from them. Numpy only."""
