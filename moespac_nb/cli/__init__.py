"""The `moespac` command."""
