"""`check` starts the programs of wheels, and runs the tests of their recipes; data below the prefix of a build are found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.pyodide import check_wheels
from tests.helpers import conda, emscripten, environments, wasi

pytestmark = pytest.mark.long

ANSWERS = (
    "answers.c",
    '#include <stdio.h>\nint main(int argc, char **argv) { printf("%s 1.0\\n", argv[argc - 1]); return 0; }\n',
)
ABORTS = ("aborts.c", "#include <stdlib.h>\nint main(void) { abort(); }\n")
TEST = """
import subprocess, sys
done = subprocess.run([sys.executable, "-m", "{package}", "{command}", "in"], capture_output=True, text=True)
assert done.stdout == {said!r}, done
print("it said", done.stdout.strip())
"""
RECIPE = 'package = "{name}"\nwhy = "The test of a package of tests."\n\n[test]\nscript = {script}\n'
PLACEHOLDER = "/" + "p" * 254
READS = (
    "reads.c",
    r"""
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
int main(void) {
  char line[100];
  struct stat about;
  FILE *words = fopen(PREFIX "/share/reads/words", "r");
  DIR *folder = opendir(PREFIX "/share/reads");
  if (!words || !fgets(line, sizeof line, words) || stat(PREFIX "/share/reads/words", &about) || !folder) return 1;
  int files = 0;
  for (struct dirent *each; (each = readdir(folder));) files += each->d_name[0] != '.';
  if (fopen(PREFIX "/share/reads/none", "r")) return 2;
  printf("%s%d bytes, %d files\n", line, (int)about.st_size, files);
}
""",
)


def test_programs_of_emscripten_are_started_in_node(tmp_path: Path) -> None:
    files: dict[str, Path] = {}
    for output, flags in (("raw.js", ("-O1", "-sNODERAWFS")), ("plain.js", ("-O2", "-sMODULARIZE"))):
        files |= {f"bin/{path.name}": path for path in emscripten.build(output, ANSWERS, flags=flags).iterdir()}
    source = conda.assemble("answers", "1.0", files)
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    script = TEST.format(package="answers_programs", command="raw", said="in 1.0\n")
    (recipes / "answers.toml").write_text(RECIPE.format(name="answers", script=json.dumps(script)))
    wheel = convert(source, out=tmp_path, recipes=[recipes]).wheel
    (confined,) = check_wheels([wheel])
    assert [(each.name, each.ok) for each in confined.modules] == [("plain", True), ("raw", True)], confined
    assert (confined.script, [each.code for each in confined.warnings]) == (None, ["test-not-run"])
    (found,) = check_wheels([wheel], native=True)
    assert [(each.name, each.ok) for each in found.modules] == [("plain", True), ("raw", True)], found
    assert found.script is not None
    assert (found.script.ok, found.script.stdout) == (True, "it said in 1.0\n")

    files |= {f"bin/{path.name}": path for path in emscripten.build("aborts.js", ABORTS, flags=("-O1",)).iterdir()}
    (failed,) = check_wheels([convert(conda.assemble("answers", "1.1", files), out=tmp_path).wheel])
    assert {each.name: each.ok for each in failed.modules} == {"aborts": False, "plain": True, "raw": True}
    assert not failed.ok


def test_the_test_of_a_recipe_and_a_given_one_run_beside_programs_of_wasi(tmp_path: Path) -> None:
    program = wasi.compiled(ANSWERS[1])
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    script = TEST.format(package="spoken_programs", command="spoken", said="in 1.0\n")
    (recipes / "spoken.toml").write_text(RECIPE.format(name="spoken", script=json.dumps(script)))
    wheel = convert(conda.assemble("spoken", "1.0", {"bin/spoken.wasm": program}), out=tmp_path, recipes=[recipes]).wheel
    (found,) = check_wheels([wheel], native=True)
    assert found.ok
    assert found.script is not None
    assert found.script.stdout == "it said in 1.0\n"
    given = tmp_path / "given.py"
    given.write_text(TEST.format(package="spoken_programs", command="spoken", said="something else\n"))
    (failed,) = check_wheels([wheel], script=given)
    assert [each.ok for each in failed.modules] == [True]
    assert failed.script is not None
    assert not failed.script.ok
    assert "AssertionError" in (failed.script.error or "")


def test_data_below_the_prefix_of_the_build_are_found(tmp_path: Path) -> None:
    define = f'-DPREFIX="{PLACEHOLDER}"'
    fs = "-sEXPORTED_RUNTIME_METHODS=FS"
    files: conda.Files = {"share/reads/words": "words of the package\n", "share/reads/more": "more\n"}
    forms = {
        "raw": ("-O2", "-sNODERAWFS"),
        "rawm": ("-O0", "-sNODERAWFS", "-sMODULARIZE"),
        "own": ("-O2", fs),
        "nodefs": ("-O1", fs, "-lnodefs.js"),
    }
    for name, flags in forms.items():
        made = emscripten.build(f"{name}.js", READS, flags=(*flags, define))
        files = {**files, **{f"bin/{path.name}": path for path in made.iterdir()}}
    source = conda.assemble("reads", "1.0", files)
    binaries = {f"bin/{name}.wasm" for name in forms}
    placed = conda.edit(
        source,
        "info/paths.json",
        lambda document: {
            **document,
            "paths": [
                {**row, "prefix_placeholder": PLACEHOLDER, "file_mode": "binary"} if row["_path"] in binaries else row
                for row in document["paths"]
            ],
        },
    )
    wheel = convert(placed, out=tmp_path / "dist").wheel
    commands = environments.environment(tmp_path / "environment", Path(sys.executable), wheel, "uv")
    work = tmp_path / "work"
    work.mkdir()
    for name in forms:
        done = environments.started(commands / name, cwd=work)
        assert (done.stdout, done.returncode) == ("words of the package\n21 bytes, 2 files\n", 0), f"{name}: {done}"
