"""Programs of conda packages: what they are, what they need, and the launcher that starts them from a wheel."""
