"""Runs pip with the markers and tags of another interpreter: `python pip_inside.py JSON`."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

PACKAGING = "pip._vendor.packaging"
NAMES = (
    "pip._internal.cli.main",
    "pip._internal.models.target_python",
    *(f"{PACKAGING}.{each}" for each in ("markers", "pylock", "tags")),
)


def run(order: dict[str, Any]) -> int:
    """Run pip's command line with an order's tags and markers."""
    sys.path.insert(0, order["pip"])
    loaded: list[Any] = [import_module(name) for name in NAMES]
    main, target_python, markers, pylock, tags = loaded
    found = [tags.Tag(*text.split("-")) for text in order["tags"]]
    markers.default_environment = pylock.default_environment = lambda: order["markers"]
    pylock.sys_tags = lambda **_: iter(found)
    target_python.get_supported = lambda **_: found
    return int(main.main(order["words"]))


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1])))
