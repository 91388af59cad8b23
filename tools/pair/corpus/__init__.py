"""The text the bundled pair is trained on: permitted sources and seeded generators, by domain.

Knows where text comes from and what a document of each domain looks like.
Knows nothing about tokens or models; `tools/pair/train.py` does that.
"""
