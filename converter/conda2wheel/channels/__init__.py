"""Channels: repodata, search, contents of packages, and library lookup by file name."""
