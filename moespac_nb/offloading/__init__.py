"""Decode a transformers model whose experts live in slots, under a memory budget. Loads torch."""
