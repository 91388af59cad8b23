"""The card of the bundled pair: a noun a module, each with what it measures and how a reader sees it.

`measure` gives plain values for card.json, `show` makes Markdown of them. `tools/pair/evaluate.py` puts them
together; nothing here writes a file but the decodes, which are kept so that a stopped run can go on.
"""
