"""Transformers models: load and check them, read their routing, ask their gates, keep their KV cache."""
