"""A conda package as it comes: opened without trusting it, and read."""
