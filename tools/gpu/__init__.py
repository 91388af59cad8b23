"""The stages of the check on a GPU, see `tools/gpu_check.py`."""
