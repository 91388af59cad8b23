"""What `tools/bench/widgets.py` is made of: the widgets' cells, what is measured in the page, the tables."""
