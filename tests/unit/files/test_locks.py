"""Locks on files end with their process, and name who waits for nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conda2wheel.errors import Failed
from conda2wheel.files.locks import acquire, file_lock, open_lock_file, release
from conda2wheel.mirror.state.process_lock import lock_holder, process_lock

HOLD = """if True:
    import sys
    from pathlib import Path
    from conda2wheel.{module} import {lock}
    with {lock}(Path(sys.argv[1]){more}):
        print(flush=True)
        sys.stdin.read()
"""


def holder(path: Path, module: str, lock: str, more: str = "") -> subprocess.Popen[bytes]:
    """A process that holds a lock until its stdin ends."""
    code = HOLD.format(module=module, lock=lock, more=more)
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def is_free(path: Path) -> bool:
    descriptor = open_lock_file(path)
    try:
        if free := acquire(descriptor, 0):
            release(descriptor)
    finally:
        os.close(descriptor)
    return free


def test_a_lock_is_held_by_one_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with holder(path, "files.locks", "file_lock") as process:
        assert not is_free(path)
        process.kill()
        process.wait()
        with file_lock(path):
            assert not is_free(path)
    assert is_free(path)
    assert path.exists()


def test_who_has_the_lock_of_a_state_is_told_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "mirror.sqlite"
    assert lock_holder(path) is None
    with holder(path, "mirror.state.process_lock", "process_lock", ", 1.8e9") as process:
        assert f"process {process.pid} on " in str(lock_holder(path))
        with pytest.raises(Failed, match=f"process {process.pid} on ") as caught, process_lock(path, 0.0):
            pass
        assert caught.value.code == "busy"
        process.kill()
        process.wait()
    assert lock_holder(path) is None
    with process_lock(path, 1.8e9):
        assert "since 2027-01-15 08:00:00 UTC" in str(lock_holder(path))
    assert lock_holder(path) is None


def test_a_lock_file_of_an_earlier_version_locks_too(tmp_path: Path) -> None:
    (tmp_path / "s.lock").write_text('{"pid": 4711, "host": "there", "since": 1800000000}')
    assert lock_holder(tmp_path / "s") is None
    with process_lock(tmp_path / "s", 1.8e9):
        assert f"process {os.getpid()} on " in str(lock_holder(tmp_path / "s"))
