"""The stages of the check on a GPU, in the order of their numbers, see `tools/gpu_check.py`."""
