"""Whose a state is: two configurations with one state would each withdraw what the other published.

The state records the file of the configuration that used it last, relative to its own folder, so that a mirror may be moved as a
whole. The file may be edited as before. Another file may use the state if both make the same index, as that of a service does,
or if the recorded one is gone or names another state.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from conda2wheel.errors import Failed
from conda2wheel.mirror.config import MirrorConfig, load
from conda2wheel.mirror.state.mirror_state import MirrorState, StateCorruptedError

_SECTIONS = ("channels", "platforms", "select", "convert", "share")  # what, beside the store, decides what is in the index


def open_state(config: MirrorConfig, *, record: bool = False) -> MirrorState:
    """Open or create the state of a configuration; one that has no file stays in memory unless `record`.

    Args:
        config: the configuration.
        record: whether the state is from now on that of this configuration.

    Raises:
        StateCorruptedError: as `MirrorState.open`.
        Failed: as `MirrorState.open`, and usage for the state of another configuration.
    """
    state = MirrorState.open(config.state if record or config.state.exists() else Path(":memory:"))
    try:
        _require_own(config, state)
        if record and state.owner != (name := _relative(config.path, config)):
            state.record_owner(name)
    except BaseException:
        state.close()
        raise
    return state


def require_own_state(config: MirrorConfig) -> None:
    """Check that the state, if there is one and it can be read, is not that of another configuration. Raises `Failed` (usage)."""
    if config.state.exists():
        with suppress(StateCorruptedError):  # whoever needs what is in it has it rebuilt
            open_state(config).close()


def _require_own(config: MirrorConfig, state: MirrorState) -> None:
    if state.owner is None or state.owner == _relative(config.path, config):
        return
    path = Path(os.path.normpath(config.state.parent / state.owner))
    try:
        other = load(path)
    except Failed:  # it is gone, or cannot run: whoever mends it finds the state taken
        return
    if os.path.realpath(other.state) != os.path.realpath(config.state) or not (differing := _differing(config, other)):
        return
    raise Failed(
        "usage",
        f"{config.path}: {config.state.name} is the state of {path}, which has another {differing}",
        "give each configuration a [state] path of its own",
    )


def _differing(one: MirrorConfig, other: MirrorConfig) -> str:
    """The first setting in which two configurations make different indexes, as it is named in the file; empty for none."""
    if os.path.realpath(one.output.store) != os.path.realpath(other.output.store):
        return "[output] store"
    for name in _SECTIONS:
        if getattr(one, name) != getattr(other, name):
            return {"channels": "[channel] urls", "platforms": "[channel] platforms"}.get(name, f"[{name}]")
    return ""


def _relative(path: Path, config: MirrorConfig) -> str:
    """A path relative to the state's folder, with `/`; a whole one on another drive of Windows."""
    try:
        return Path(os.path.relpath(path, config.state.parent)).as_posix()
    except ValueError:
        return path.as_posix()
