"""The exercises of each notebook, one module each."""
