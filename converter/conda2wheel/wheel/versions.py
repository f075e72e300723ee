"""Conda versions as PEP 440 versions."""

from __future__ import annotations

import re

from packaging.version import InvalidVersion, Version

# `2023c` is a release of a letter in conda and the release candidate 2023rc0 in PEP 440.
_LETTER_RELEASE = re.compile(r"[^+]*\d[._]?[a-z](\+.*)?")


def pep440(conda_version: str) -> str | None:
    """The canonical PEP 440 form of a conda version, or None where it has none or would mean something else.

    >>> pep440("1.0.2.post1"), pep440("2.0.0.0a1"), pep440("2023c"), pep440("9e")
    ('1.0.2.post1', '2.0.0.0a1', None, None)
    """
    text = conda_version.strip().lower()
    if _LETTER_RELEASE.fullmatch(text):
        return None
    try:
        return str(Version(text))
    except InvalidVersion:
        return None
