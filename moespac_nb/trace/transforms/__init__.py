"""Traces made of traces: with a better draft, with windows, with as many layers as a model has."""
