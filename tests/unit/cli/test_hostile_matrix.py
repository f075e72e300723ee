"""Every command over every hostile input: exit status 0 or 1, a verdict or a result, and nothing else.

No traceback, no `internal`, no signal, no control character; JSON is one document. The whole matrix, with bounds on memory and
time and as two users, takes minutes (`long`); by default an input of every few meets one command, all commands in turn.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import handmade, hostile
from tests.helpers.command import run
from tests.helpers.hostile import Hostile
from tests.helpers.hostile_runs import NOBODY, run_all
from tests.helpers.systems import IS_ROOT

KINDS: dict[str, Callable[[], Iterator[Hostile]]] = {
    "package": hostile.packages,
    "wheel": hostile.wheels,
    "module": hostile.modules,
}
COMMANDS = {
    "package": (
        "convert FILE -o OUT -v",
        "inspect FILE --json",
        "audit FILE -v",
        "convert FILE --dry-run --json",
        "inspect FILE",
        "audit FILE --sarif -",
        "names demo --libdir FILE",
        "verify FILE --from FILE --json",
        "repair FILE -o OUT",
    ),
    "wheel": (
        "repair FILE -o OUT -v",
        "inspect FILE --json",
        "audit FILE -v",
        "inspect FILE",
        "repair FILE -o OUT --json",
        "verify FILE --from FILE",
        "audit FILE --json",
        "convert FILE",
    ),
    "module": ("audit FILE -v", "inspect FILE --json", "inspect FILE", "audit FILE --json", "convert FILE -o OUT"),
}
GIB = 1 << 30
AS_ROOT = IS_ROOT
EVERY = {"package": 17, "wheel": 11, "module": 9}  # which inputs the default run takes
measured: list[tuple[float, int, str]] = []  # seconds of a command, MiB, the input


def failures(kind: str, jobs: Sequence[tuple[Hostile, Sequence[str]]], folder: Path, user: int | None = None) -> list[str]:
    """What is wrong with the runs of commands over inputs of a kind, a line each."""
    found = []
    requests = []
    warm = _sound_commands(folder / "sound") if user is not None else []
    for number, (each, commands) in enumerate(jobs):
        place = folder / str(number)
        place.mkdir()
        (place / each.filename).write_bytes(each.data)
        if user is not None:
            shutil.chown(place, user)
        words = [[{"FILE": each.filename, "OUT": "out"}.get(word, word) for word in command.split()] for command in commands]
        requests.append({"commands": words, "cwd": str(place), "user": user, "warm": warm, "memory": 6 * GIB, "seconds": 120})
    for (each, commands), answer in zip(jobs, run_all(requests), strict=True):
        if answer["status"] != 0 or len(answer["runs"]) != len(commands):
            last = commands[min(len(answer["runs"]), len(commands) - 1)]
            found.append(f"{kind} {each.name}: `{last}` ended the process: {answer['status']}")
        found += [f"{kind} {each.name}: `{' '.join(run['words'])}` {wrong}" for run in answer["runs"] for wrong in _wrong(run)]
        if user is None and answer["peak"] > GIB:
            found.append(f"{kind} {each.name}: {answer['peak'] >> 20} MiB")
        measured.append((answer["seconds"] / len(commands), answer["peak"] >> 20, f"{kind} {each.name}"))
    return found


def _sound_commands(folder: Path) -> list[list[str]]:
    """Commands over sound inputs that load all modules."""
    module = handmade.module(exports={"PyInit__x": ">i"})
    package = hostile.native("sound", module)
    folder.mkdir()
    (folder / package.filename).write_bytes(package.data)
    (folder / "_x.so").write_bytes(module)
    path, wheel = str(folder / package.filename), str(folder / "demo-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl")
    commands = (
        f"convert {path} -o {folder} -v --platform 0.29.5",
        f"convert {path} --dry-run --json --libdir {folder}",
        f"inspect {path} {wheel} {folder}/_x.so",
        f"audit {path} {wheel} {folder}/_x.so -v",
        f"audit {path} --sarif -",
        f"repair {wheel} -o {folder}/out -v",
        f"verify {wheel} --from {path}",
        f"names demo --libdir {path}",
        "convert gone --json",
    )
    return [command.split() for command in commands]


def _wrong(run: dict[str, Any]) -> Iterator[str]:
    text = run["stdout"] + run["stderr"]
    if run["status"] not in (0, 1):
        yield f"status {run['status']}: {run['stderr'][-300:]}"
    if "Traceback" in text or "error: internal" in text or '"internal"' in text:
        yield text[text.find("internal") :][:300]
    controls = {character for character in text if not character.isprintable() and character not in "\n\t"}
    if controls - {"\u3000", "\xa0"}:
        yield f"shows {controls}"
    if "--json" in run["words"] or "-" in run["words"]:
        try:
            json.loads(run["stdout"])
        except ValueError:
            yield f"prints no JSON: {run['stdout'][:100]!r} {run['stderr'][:200]}"


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user can read; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_inputs_end_in_a_verdict(kind: str, tmp_path: Path) -> None:
    inputs = islice(KINDS[kind](), 0, None, EVERY[kind])
    jobs = [(each, [command]) for each, command in zip(inputs, cycle(COMMANDS[kind]), strict=False)]
    assert failures(kind, jobs, tmp_path) == []


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_an_unprivileged_user_gets_errors_for_what_is_not_theirs(shared_folder: Path) -> None:
    own = next(hostile.packages())
    sound = own._replace(data=hostile.package("", hostile.info()).data)
    for name in ("secret", "out"):
        (shared_folder / name).mkdir(mode=0o700)
        (shared_folder / name / sound.filename).write_bytes(sound.data)
    secret = shared_folder / "secret" / sound.filename
    commands = [
        f"convert FILE -o {shared_folder / 'out' / 'deeper'}",
        f"inspect {secret}",
        f"convert {secret} --json",
        f"audit {secret.parent}",
        "convert FILE -o /proc/self/mem/x",
    ]
    assert failures("package", [(sound, commands)], shared_folder, NOBODY) == []
    done = run("convert", "x.conda", "--libdir", secret.parent, cwd=shared_folder, user=NOBODY)  # the value of an option
    assert (done.returncode, f"--libdir: {secret.parent}: may not be read" in done.stderr) == (2, True)


@pytest.mark.long
@pytest.mark.parametrize("user", [None, NOBODY])
@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_matrix_stays_within_its_bounds(kind: str, user: int | None, shared_folder: Path) -> None:
    if user is not None and not AS_ROOT:
        pytest.skip("only root can become another user")
    jobs = [(each, COMMANDS[kind]) for each in KINDS[kind]()]
    assert failures(kind, jobs, shared_folder, user) == []
    slow = [line for line in measured if line[0] > 10]
    assert not slow, slow
