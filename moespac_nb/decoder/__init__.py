"""Speculative decoding of a transformers model, and the recording of it. Loads torch."""
