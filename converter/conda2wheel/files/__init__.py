"""Bounded reading, safe paths and links, spooling, and atomic writing."""
