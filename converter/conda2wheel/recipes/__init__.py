"""Conversion recipes: their model and their parser."""
