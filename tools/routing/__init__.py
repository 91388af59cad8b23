"""Fits the generator of routing to captures of real models."""
