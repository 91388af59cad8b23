"""Made-up traces, and logs of other programs."""
