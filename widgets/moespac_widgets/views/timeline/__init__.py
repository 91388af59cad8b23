"""The timeline: its Python side, its script and its style sheet."""

from .timeline import Timeline

__all__ = ["Timeline"]
