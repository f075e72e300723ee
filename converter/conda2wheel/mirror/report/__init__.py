"""The report of a run: its model, progress, missing distributions, and rendering."""
