"""Stores of a mirror's objects: a folder, or a bucket."""
