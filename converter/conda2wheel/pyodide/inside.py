"""The half of `run.mjs` that is Python: it runs inside Pyodide (CPython 3.10 and later), never here.

Every function answers with JSON, `{"ok", "error", "traceback", "seconds"}`, and lets nothing but the interpreter's own
end out: an exception that Python code raises is a verdict, SystemExit too.
"""

# ruff: noqa: BLE001 - whatever the code under test raises is what we are here to hear of
from __future__ import annotations

import ast
import inspect
import json
import os
import sys
import time
import traceback

LIMIT = 1 << 16  # characters of a traceback; its end is what matters


def verdict(error: BaseException | None, started: float) -> str:
    """What became of a step; the frames of this file are left out of the traceback."""
    seconds = time.monotonic() - started
    if error is None:
        return json.dumps({"ok": True, "error": None, "traceback": None, "seconds": seconds})
    try:
        lines = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()
        # A SyntaxError shows the source above its own line, Pyodide's ModuleNotFoundError has advice below it.
        own = [line for line in lines if line.split(":")[0].rpartition(".")[2] == type(error).__name__]
        last = own or lines or [type(error).__name__]
        below = error.__traceback__.tb_next if error.__traceback__ else None
        full = "".join(traceback.format_exception(type(error), error, below))
    except Exception:  # an exception whose own __str__ raises
        last, full = [type(error).__name__], type(error).__name__
    return json.dumps({"ok": False, "error": last[0], "traceback": full[-LIMIT:], "seconds": seconds})


def flush() -> None:
    """Hand a last line without a line break to JavaScript, as far as this Pyodide can."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
            os.fsync(number)
        except Exception:  # noqa: S110 - a closed or replaced stream is the code's own business
            pass


def try_import(name: str) -> str:
    """Import a module by its dotted name. `__import__`, unlike importlib, keeps importlib's frames out of the traceback."""
    started = time.monotonic()
    try:
        __import__(name)
    except BaseException as error:  # SystemExit at import is a failed import
        return verdict(error, started)
    finally:
        flush()
    return verdict(None, started)


async def run_script(path: str) -> str:
    """Run a file as `__main__`; a top-level `await` is allowed, as in Pyodide's own runPythonAsync."""
    started = time.monotonic()
    try:
        with open(path, encoding="utf-8") as file:
            source = file.read()
        code = compile(source, path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        sys.argv = [path]
        result = eval(code, {"__name__": "__main__", "__file__": path, "__builtins__": __builtins__})  # noqa: S307
        if inspect.iscoroutine(result):
            await result
    except SystemExit as error:
        return verdict(None if error.code in (None, 0) else error, started)  # as a command line program is judged
    except BaseException as error:
        return verdict(error, started)
    finally:
        flush()
    return verdict(None, started)


async def install(url: str) -> str:
    """Install one wheel with micropip; what the wheel requires is installed before, from where the caller found it."""
    started = time.monotonic()
    try:
        import micropip  # type: ignore[import-not-found,import-untyped,unused-ignore]

        await micropip.install(url, deps=False)
    except BaseException as error:
        return verdict(error, started)
    return verdict(None, started)
