"""WASI programs for the tests: small ones written in WebAssembly's text form, and C or C++ that zig compiles."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.helpers.cache import cached, only

_IMPORTS = {
    "args_sizes_get": "i32 i32",
    "args_get": "i32 i32",
    "environ_sizes_get": "i32 i32",
    "environ_get": "i32 i32",
    "fd_read": "i32 i32 i32 i32",
    "fd_write": "i32 i32 i32 i32",
    "path_open": "i32 i32 i32 i32 i32 i64 i64 i32 i32",
}
# Writes the LENGTH bytes at 4096 to standard output.
_WRITE = """
  (func $write (param $length i32)
    (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (local.get $length))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  ;; copies a file to standard output
  (func $copy (param $fd i32)
    (loop $more
      (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.const 4096))
      (drop (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.load (i32.const 8)) (then (call $write (i32.load (i32.const 8))) (br $more)))))"""


def module(start: str, *, data: str = "", extra: str = "") -> bytes:
    """A WASI program with this body of `_start`; `data` is at address 256."""
    import wasmtime

    imports = "".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {types}) (result i32)))\n'
        for name, types in _IMPORTS.items()
    )
    text = f"""(module {imports}
      (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32))) {extra}
      (memory (export "memory") 4) (data (i32.const 256) "{data}") {_WRITE}
      (func $main (export "_start") {start}))"""
    return bytes(wasmtime.wat2wasm(text))


def status(code: int) -> bytes:
    """A program that ends with a status."""
    return module(f"(call $proc_exit (i32.const {code}))")


def trap() -> bytes:
    """A program that traps."""
    return module("unreachable")


def cat() -> bytes:
    """A program that copies standard input to standard output."""
    return module("(call $copy (i32.const 0))")


def arguments() -> bytes:
    """A program that prints its argv, each with a NUL after it."""
    return _strings("args")


def environment() -> bytes:
    """A program that prints its environment, each variable with a NUL after it."""
    return _strings("environ")


def _strings(what: str) -> bytes:
    return module(
        f"""(drop (call ${what}_sizes_get (i32.const 16) (i32.const 20)))
        (drop (call ${what}_get (i32.const 65536) (i32.const 4096)))
        (call $write (i32.load (i32.const 20)))"""
    )


def show(path: str, folder: int = 3) -> bytes:
    """A program that prints a file, by its path in the folder with this number (3 is the first); its status is the error's."""
    return module(
        f"""(local $error i32)
        (local.set $error (call $path_open (i32.const {folder}) (i32.const 0) (i32.const 256) (i32.const {len(path)})
          (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 12)))
        (if (local.get $error) (then (call $proc_exit (local.get $error))))
        (call $copy (i32.load (i32.const 12)))""",
        data=path,
    )


def compiled(source: str, *, suffix: str = ".c", flags: tuple[str, ...] = ()) -> Path:
    """A program that zig compiled for wasm32-wasi from C, or from C++ with `suffix=".cc"`."""
    import importlib.metadata

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / f"program{suffix}"
            path.write_text(source)
            compiler = "c++" if suffix == ".cc" else "cc"
            command = [sys.executable, "-m", "ziglang", compiler, "--target=wasm32-wasi", "-O1", "-s", *flags]
            done = subprocess.run(
                [*command, str(path), "-o", str(folder / "program.wasm")], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"zig: {done.stderr[-2000:]}")

    return only(cached("wasi", (source, suffix, flags, importlib.metadata.version("ziglang"), Path(__file__)), make))
