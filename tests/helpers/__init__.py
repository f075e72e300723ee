"""Builders of test material and judges of what the converter makes of it: sources here, products in a cache."""
