"""Sensors of expert demand, the utility rules, and how well they predict. Numpy only."""
