"""Import of routing that other programs recorded: one module a format, and what they share."""
