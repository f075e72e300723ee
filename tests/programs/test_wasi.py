"""WASI programs that zig compiled, in wheels that pip and uv install into fresh environments of several Pythons."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from tests.helpers import conda, environments, wasi

pytestmark = pytest.mark.long

TOOL = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "trap")) abort();
  if (argc > 1 && !strcmp(argv[1], "three")) return 3;
  for (int i = 1; i < argc; i++) printf("[%s]", argv[i]);
  printf("%s\n", getenv("FRUIT") ? getenv("FRUIT") : "none");
  char line[200];
  while (fgets(line, sizeof line, stdin)) printf("> %s", line);
  fprintf(stderr, "done\n");
}
"""
COPY = r"""
#include <stdio.h>
int main(int argc, char **argv) {
  FILE *in = fopen(argv[1], "rb");
  if (!in) { perror(argv[1]); return 4; }
  FILE *out = fopen(argv[2], "wb");
  if (!out) { perror(argv[2]); return 4; }
  for (int c; (c = getc(in)) != EOF;) putc(c, out);
  return fclose(out);
}
"""
ESCAPE = r"""
#include <stdio.h>
int main(void) {
  const char *paths[] = {"/etc/passwd", "../secret", "../../etc/passwd", "sub/../../secret", "link/passwd", "file",
                         "/prefix/../secret"};
  for (int i = 0; i < 7; i++) if (fopen(paths[i], "r")) return 1;
  const char *new[] = {"../new", "/prefix/new", "/new/x", "link/new"};
  for (int i = 0; i < 4; i++) if (fopen(new[i], "w")) return 2;
  FILE *own = fopen("/tmp/x", "w"), *inside = fopen("inside", "w");
  return own && inside ? 0 : 3;
}
"""
SORT = r"""
#include <algorithm>
#include <iostream>
#include <string>
#include <vector>
int main() {
  std::vector<std::string> lines;
  for (std::string line; std::getline(std::cin, line);) lines.push_back(line);
  std::sort(lines.begin(), lines.end());
  for (auto &line : lines) std::cout << line << "\n";
}
"""
DATA = r"""
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
  char path[300], line[100];
  strcpy(path, argv[0]);
  strcpy(strrchr(path, '/'), "/../share/tool/words");  /* beside itself, as relocatable programs look for their data */
  FILE *file = fopen(path, "r");
  if (!file || !fgets(line, sizeof line, file)) return 1;
  fputs(line, stdout);
}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sort = wasi.compiled(SORT, suffix=".cc", flags=("-fno-exceptions",))
    files: conda.Files = {
        "bin/tool.wasm": wasi.compiled(TOOL),
        "bin/copy.wasm": wasi.compiled(COPY),
        "bin/escape.wasm": wasi.compiled(ESCAPE),
        "bin/lines": sort,
        "bin/data.wasm": wasi.compiled(DATA),
        "share/tool/words": "words of the package\n",
    }
    source = conda.assemble("wasi-tools-of-tests", "1.0", files)
    return convert(source, out=tmp_path_factory.mktemp("wheel")).wheel


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_the_same_wheel_runs_on_every_python(wheel: Path, tmp_path: Path, tool: str) -> None:
    pythons = environments.pythons()
    if len(pythons) < 2:
        pytest.skip("only one version of Python is here")
    for python in (pythons[0], pythons[-1]):
        commands = environments.environment(tmp_path / f"{tool}-{python.parent.parent.name}", python, wheel, tool)
        folder = tmp_path / f"work-{python.parent.parent.name}"
        _everything(commands, folder)


def _everything(commands: Path, folder: Path) -> None:
    (folder / "work" / "sub").mkdir(parents=True)
    work = folder / "work"
    (folder / "secret").write_text("secret")
    (work / "link").symlink_to("/etc")
    (work / "file").symlink_to(folder / "secret")
    (work / "in").write_bytes(bytes(range(256)) * 300)

    done = environments.started(commands / "tool", "a", "", "b c", cwd=work, given="one\ntwo", variables={"FRUIT": "fig"})
    assert (done.stdout, done.stderr, done.returncode) == ("[a][][b c]fig\n> one\n> two", "done\n", 0)
    assert environments.started(commands / "tool", "three", cwd=work).returncode == 3
    trapped = environments.started(commands / "tool", "trap", cwd=work)
    assert trapped.returncode == 134
    assert trapped.stderr.startswith("tool: wasm `unreachable` instruction executed (WebAssembly trap")
    assert trapped.stderr.count("\n") == 1

    assert environments.started(commands / "copy", "in", "sub/out", cwd=work).returncode == 0
    assert (work / "sub/out").read_bytes() == (work / "in").read_bytes()
    assert environments.started(commands / "copy", str(work / "in"), "../out", cwd=work / "sub").returncode == 0
    assert (work / "out").read_bytes() == (work / "in").read_bytes()
    missing = environments.started(commands / "copy", "none", "x", cwd=work)
    assert (missing.returncode, missing.stderr) == (4, "none: No such file or directory\n")

    assert environments.started(commands / "escape", cwd=work).returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["secret", "work"]
    assert environments.started(commands / "lines", cwd=work, given="b\na\n").stdout == "a\nb\n"
    assert environments.started(commands / "data", cwd=work).stdout == "words of the package\n"
    by_module = environments.started(commands / "python", "-m", "wasi_tools_of_tests_programs", "tool", "three", cwd=work)
    assert by_module.returncode == 3


def test_the_commands_are_where_pip_puts_commands(wheel: Path, tmp_path: Path) -> None:
    commands = environments.environment(tmp_path / "environment", Path(sys.executable), wheel, "uv")
    assert {"tool", "copy", "escape", "lines", "data"} <= {path.name for path in commands.iterdir()}
