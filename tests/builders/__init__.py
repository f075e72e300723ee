"""Wheel builders of PyPI, run as their users run them, with the commands of the how-tos."""
