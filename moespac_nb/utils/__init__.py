"""Exceptions, argument checks and atomic file writes that every other room uses."""
