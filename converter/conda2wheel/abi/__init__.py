"""Platforms, main-module symbols, loaders, and the order in which loaders search for libraries."""
