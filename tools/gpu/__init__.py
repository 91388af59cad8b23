"""What the check on a GPU is made of, see `tools/gpu_check.py`."""
