"""Programs of Debian's Emscripten in every form of its builds, in one wheel that runs them in node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.errors import Refused
from conda2wheel.results import Converted
from tests.helpers import conda, emscripten, environments

pytestmark = pytest.mark.long

TOOL = (
    "tool.c",
    r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
  char text[200];
  if (argc > 1 && !strcmp(argv[1], "trap")) abort();
  printf("%d %s %s\n", argc, argc > 1 ? argv[1] : "", getenv("FRUIT") ? getenv("FRUIT") : "none");
  if (argc > 1) {
    FILE *in = fopen(argv[1], "r");
    if (!in) { perror(argv[1]); return 4; }
    while (fgets(text, sizeof text, in)) printf("file %s", text);
    fclose(in);
  }
  if (argc > 2) {
    FILE *out = fopen(argv[2], "w");
    if (!out) { perror(argv[2]); return 5; }
    fputs("written\n", out);
    fclose(out);
  }
  while (fgets(text, sizeof text, stdin)) printf("line %s", text);
  FILE *data = fopen("/prefix/share/words", "r");
  printf("%s", data && fgets(text, sizeof text, data) ? text : "no data\n");
  return 3;
}
""",
)
FS = "-sEXPORTED_RUNTIME_METHODS=FS"
# Of each program the file that emcc makes, the options, and how it sees files.
FORMS = {
    "raw": ("raw.js", ("-O1", "-sNODERAWFS"), "noderawfs"),
    "rawo": ("rawo.js", ("-O2", "-sNODERAWFS", "-sMODULARIZE"), "noderawfs"),
    "nodefs": ("nodefs.js", ("-O1", "-lnodefs.js", FS), "nodefs"),
    "nodefsm": ("nodefsm.js", ("-O2", "-lnodefs.js", FS, "-sMODULARIZE"), "nodefs"),
    "own": ("own.js", ("-O2", FS), "fs"),
    "ownm": ("ownm.js", ("-O0", FS, "-sMODULARIZE"), "fs"),
    "es": ("es.mjs", ("-O3", FS, "-sMODULARIZE", "-sEXPORT_ES6"), "fs"),
    "memfs": ("memfs.js", ("-O3",), "none"),
    "memfsm": ("memfsm.js", ("-O0", "-sMODULARIZE"), "none"),
    "sync": ("sync.js", ("-O1", "-sWASM_ASYNC_COMPILATION=0"), "none"),
    "single": ("single.js", ("-O2", "-sSINGLE_FILE"), "none"),
}
MAIN = (
    "main.c",
    '#include <stdio.h>\nextern int side(void);\nint main(void) { printf("side %d\\n", side()); return 0; }\n',
)


def files() -> dict[str, Path]:
    """What emcc makes of every form, by its place in a package."""
    found = {}
    for output, flags, _ in FORMS.values():
        for path in emscripten.build(output, TOOL, flags=flags).iterdir():
            found[f"bin/{path.name}"] = path
    return found


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    source = conda.assemble("emscripten-tools-of-tests", "1.0", {**files(), "share/words": "words of the package\n"})
    return convert(source, out=tmp_path_factory.mktemp("wheel"))


def test_the_javascript_of_every_form_is_understood(converted: Converted) -> None:
    assert {each.name: each.files for each in converted.programs} == {name: access for name, (_, _, access) in FORMS.items()}
    blind = {warning.file for warning in converted.warnings if warning.code == "no-files"}
    assert blind == {f"bin/{output}" for output, _, access in FORMS.values() if access == "none"}
    assert not [warning for warning in converted.warnings if warning.code == "no-environment"]


def test_every_form_runs(converted: Converted, tmp_path: Path) -> None:
    commands = environments.environment(tmp_path / "environment", Path(sys.executable), converted.wheel, "uv")
    for name, (_, _, access) in FORMS.items():
        work = tmp_path / name / "work"
        work.mkdir(parents=True)
        (work / "in").write_text("content\n")
        done = environments.started(commands / name, cwd=work, given="one\ntwo\n", variables={"FRUIT": "fig"})
        words = "no data" if access == "none" else "words of the package"
        # With SINGLE_FILE this Emscripten forgets to load node's fs, so the program has no input, in node itself either.
        lines = "" if name == "single" else "line one\nline two\n"
        assert (done.stdout, done.returncode) == (f"1  fig\n{lines}{words}\n", 3), f"{name}: {done}"
        done = environments.started(commands / name, "in", "../out", cwd=work, variables={"FRUIT": "fig"})
        if access == "none":
            assert done.returncode == 4, f"{name}: {done}"
        else:
            assert done.returncode == 3, f"{name}: {done}"
            assert done.stdout.startswith("3 in fig\nfile content\n"), f"{name}: {done}"
            assert (tmp_path / name / "out").read_text() == "written\n"
        trapped = environments.started(commands / name, "trap", cwd=work)
        assert trapped.returncode == 134, f"{name}: {trapped}"
        assert trapped.stderr.splitlines()[-1].startswith(f"{name}: Aborted("), f"{name}: {trapped}"


def test_input_that_comes_late_is_waited_for(converted: Converted, tmp_path: Path) -> None:
    """node reads a pipe without waiting: a program that asks before there is anything gets it all the same."""
    commands = environments.environment(tmp_path / "environment", Path(sys.executable), converted.wheel, "uv")
    for name in ("raw", "own", "memfs"):
        with subprocess.Popen([commands / name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)  # it is waiting, or not yet there
            out, _ = process.communicate("late\n")
        assert "line late\n" in out, name


def test_side_modules_that_a_program_needs(tmp_path: Path) -> None:
    side = (
        emscripten.build("libside.so", ("side.c", "int side(void) { return 42; }"), flags=("-O1", "-sSIDE_MODULE=1"))
        / "libside.so"
    )
    programs: dict[str, Path] = {}
    for output, flags in (("dyn.js", ("-sNODERAWFS",)), ("dynm.js", ("-sMODULARIZE", FS))):
        made = emscripten.build(output, MAIN, flags=("-O1", "-sMAIN_MODULE=2", *flags), beside=(side,))
        programs |= {f"bin/{path.name}": path for path in made.iterdir()}
    source = conda.assemble("emscripten-dynamic-of-tests", "1.0", programs)
    with pytest.raises(Refused, match=r"NEEDs libside\.so"):
        convert(source, out=tmp_path)
    library = conda.assemble("libside", "2.0", {"lib/libside.so": side})
    result = convert(source, out=tmp_path, libdirs=[library])
    assert [each.source for each in result.vendored] == ["libside-2.0-h1234567_0"]
    commands = environments.environment(tmp_path / "environment", Path(sys.executable), result.wheel, "uv")
    for name in ("dyn", "dynm"):
        done = environments.started(commands / name, cwd=tmp_path)
        assert (done.stdout, done.returncode) == ("side 42\n", 0), done


def test_the_extra_brings_node(converted: Converted, tmp_path: Path) -> None:
    commands = environments.environment(tmp_path / "environment", Path(sys.executable), converted.wheel, "uv", "node")
    found = subprocess.run(
        [commands / "raw"], input="", capture_output=True, text=True, check=False, env={"PATH": "", "HOME": str(tmp_path)}
    )
    assert found.returncode == 3, found
