"""A driver in emcc's place around ziglang's clang and wasm-ld: `python emcc.py ...`, for build tools that call a compiler.

It says that it is emcc of the version in EMCC_VERSION, compiles, and links side modules, as `emcc -sSIDE_MODULE` does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import ziglang  # type: ignore[import-untyped]

from tests.helpers.zig import COMPILE, LINK

HEADERS = Path(ziglang.__file__).parent / "lib" / "include"


def program(folder: Path) -> Path:
    """An executable `emcc` in a folder."""
    path = folder / "emcc"
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).parents[2]
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" -m tests.helpers.emcc "$@"\n')
    path.chmod(0o755)
    return path


def zig_arguments(arguments: Sequence[str]) -> list[str]:
    """The command line of clang, or of wasm-ld where nothing is compiled."""
    if "-c" in arguments or "-E" in arguments:
        return [*COMPILE, "-isystem", str(HEADERS), *(each for each in arguments if not each.startswith("-s"))]
    linked = [*LINK, *(f"--export-if-defined={name}" for name in os.environ.get("EMCC_EXPORTS", "").split())]
    rest = iter(arguments)
    for each in rest:
        if each == "-o":
            linked += [each, next(rest)]
        elif each.startswith("-L") or each.endswith((".o", ".so", ".a")):
            linked.append(each)
    return linked


def main() -> int:
    """Run it."""
    arguments = sys.argv[1:]
    if "--version" in arguments:
        version = os.environ["EMCC_VERSION"]
        sys.stdout.write(f"emcc (Emscripten gcc/clang-like replacement + linker emulating GNU ld) {version}\n")
        return 0
    return subprocess.call([sys.executable, "-m", "ziglang", *zig_arguments(arguments)])


if __name__ == "__main__":
    sys.exit(main())
