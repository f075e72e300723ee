"""Read the JavaScript of an Emscripten program: how a launcher starts it, and how the program sees files and the environment.

Nothing is run. What the build settings of Emscripten leave in the text decides: MODULARIZE makes it a function, EXPORT_ES6 a
module, NODERAWFS has it use node's files; `FS` among EXPORTED_RUNTIME_METHODS lets a launcher mount folders. Read in the output
of 3.1.6, 3.1.45, 3.1.58, 4.0.9 and 5.0.3, optimised and not.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Literal, NamedTuple

Form = Literal["script", "function", "module"]
FileAccess = Literal["noderawfs", "nodefs", "fs", "none"]

_EMSCRIPTEN = re.compile(r"\./this\.program|ENVIRONMENT_IS_NODE|\bwasmBinaryFile\b")
_WASM = re.compile(r"""["'`/]([\w.+-]+\.wasm)["'`]""")
_MAIN = re.compile(r"\bcallMain\b|\b_main\b|__main_argc_argv")
_EXPORT_DEFAULT = re.compile(r"\bexport\s*default\b|\bexport\s*\{[^}]{0,2000}\bas\s+default\b")
_FACTORY = re.compile(r"\bmodule\.exports\s*=")
_MODULARIZED = re.compile(r"\bmoduleArg\b|readyPromise|return\s+(?:Module|[A-Za-z_$][\w$]*)\.ready\b|Module\[\"ready\"\]")
_RAWFS = re.compile(r"\bNODERAWFS\b")
_FS = re.compile(r"""Module(?:\.FS|\[["']FS["']\])\s*=\s*[A-Za-z_$][\w$]*\s*[;,\n}]""")
_NODEFS = re.compile(r"\bNODEFS\s*=\s*\{|\bNODEFS\s*:\s*\{")
_ENV = re.compile(r"""Module(?:\.ENV|\[["']ENV["']\])\s*=\s*[A-Za-z_$][\w$]*\s*[;,\n}]""")
_ENVIRON = re.compile(r"""(?<![\w$])([\w$]+)["']?\s*:\s*_environ_(sizes_)?get\b""")


class Script(NamedTuple):
    """What the JavaScript of a program says.

    Attributes:
        form: a script, a function that makes an instance (MODULARIZE), or an ES module with one (EXPORT_ES6).
        files: how it sees files: node's own (NODERAWFS), NODEFS mounts, mounts of the launcher's (`FS`), or none.
        wasm: the name of its module; None if it has none beside it.
        environ: the names of the imports by which it reads the environment, `environ_get` first; none if they are not known.
        reads_environment: whether it reads the environment.
        env: whether `ENV` is exported.
        problem: why it cannot be started; "" if it can.
    """

    form: Form = "script"
    files: FileAccess = "none"
    wasm: str | None = None
    environ: tuple[str, ...] = ()
    reads_environment: bool = False
    env: bool = False
    problem: str = ""

    @property
    def is_emscripten(self) -> bool:
        """Whether Emscripten made it."""
        return not self.problem

    @property
    def lacks_environment(self) -> bool:
        """Whether it reads the environment, and a launcher cannot give it that."""
        return self.reads_environment and not self.env and not self.environ

    @staticmethod
    def module_beside(path: str, script: Script, names: Container[str]) -> str | None:
        """The path of the module of a script: what it names, else the file of its own name."""
        folder, slash, name = path.rpartition("/")
        stem = re.sub(r"\.[mc]?js$", "", name)
        for candidate in (script.wasm, f"{stem}.wasm"):
            if candidate is not None and f"{folder}{slash}{candidate}" in names:
                return f"{folder}{slash}{candidate}"
        return None


def read_script(data: bytes) -> Script:
    """Read a script.

    >>> read_script(b"console.log(1)").problem
    'it is JavaScript that Emscripten did not make'
    """
    text = data.decode("utf-8", "replace")
    if not _EMSCRIPTEN.search(text):
        return Script(problem="it is JavaScript that Emscripten did not make")
    if not _MAIN.search(text):
        return Script(problem="it is a library of Emscripten without a main function")
    names = {"sizes" if match[2] else "get": match[1] for match in _ENVIRON.finditer(text)}
    environ = (names["get"], names["sizes"]) if len(names) == 2 else ()
    wasm = next((match[1] for match in _WASM.finditer(text)), None)
    # `web_user` is the name of the user in Emscripten's own environment, whatever else was minified.
    return Script(_form(text), _files(text), wasm, environ, "web_user" in text, bool(_ENV.search(text)))


def _form(text: str) -> Form:
    if _EXPORT_DEFAULT.search(text):
        return "module"
    return "function" if _FACTORY.search(text) and _MODULARIZED.search(text) else "script"


def _files(text: str) -> FileAccess:
    if _RAWFS.search(text):
        return "noderawfs"
    if not _FS.search(text):
        return "none"
    return "nodefs" if _NODEFS.search(text) else "fs"
