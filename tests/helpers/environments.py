"""Fresh environments with an installed wheel: by pip and by uv, on the Pythons of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def pythons() -> list[Path]:
    """Pythons of several versions: this one, and those that pyenv has beside it, from 3.9 on."""
    found = {sys.version_info[:2]: Path(sys.executable)}
    for folder in sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.*")):
        version = tuple(map(int, folder.name.split(".")[:2]))
        if version >= (3, 9) and (folder / "bin" / "python3").is_file():
            found.setdefault(version, folder / "bin" / "python3")  # type: ignore[arg-type]
    return [found[version] for version in sorted(found)]


def environment(folder: Path, python: Path, wheel: Path, tool: str, *extras: str) -> Path:
    """Make a virtual environment with pip or uv, and install the wheel and what it requires; returns its folder of commands."""
    wanted = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
    if tool == "uv":
        _run(sys.executable, "-m", "uv", "venv", "--quiet", "--python", str(python), str(folder))
        _run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), wanted)
    else:
        _run(str(python), "-m", "venv", str(folder))
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted)
    return folder / "bin"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")


def started(
    command: Path, *arguments: str, cwd: Path, given: str = "", variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of an environment."""
    return subprocess.run(
        [str(command), *arguments],
        cwd=cwd,
        input=given,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
