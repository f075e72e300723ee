"""Makes this Python that of Windows or macOS, for the project's code and its tests: ./scripts/test --as windows|macos.

Python imports it at its start where this folder is in PYTHONPATH, so that the processes that tests start are the same. Libraries
keep the system that they are made for. What the project's code imports lacks what the other system lacks: modules, functions,
signals; and what does something else there does it here:

* a link needs a privilege that users do not have (Windows);
* a file that this process has open is not renamed, replaced or removed (Windows);
* a folder is not opened, a file has no permissions but "read-only", text is written with CRLF (Windows);
* there is no /proc (both).

Packages that tests build have the links of the machines that build channels. Text that the project's code reads or writes without
an encoding is an error; without PYTHONWARNDEFAULTENCODING=1 Python does not tell.

Separators, drives, names that differ in case, and what other programs do cannot be had here: CI's real systems have them.
"""

from __future__ import annotations

import builtins
import errno
import inspect
import io
import os
import signal
import stat
import sys
import traceback
import types
import warnings
from collections.abc import Callable
from typing import Any

SYSTEM = os.environ.get("CONDA2WHEEL_TESTS_AS", "")
OURS = ("conda2wheel", "tests")
# What makes the tests' processes, which is done in the same way on Linux whatever is tried in them.
NOT_OURS = ("tests.helpers.command", "tests.helpers.killed")
BUILDING = ("tests.helpers.conda", "make")
# Between the project's code and the function of `os` that it calls.
ROUNDABOUT = ("pathlib", "shutil", "tempfile", "io", "os", "glob", "genericpath", "posixpath")

MODULES = {
    "windows": {"fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"},
    "macos": {"spwd"},
}
LINUX_ALONE = {
    *(
        "O_DIRECT",
        "O_LARGEFILE",
        "O_NOATIME",
        "O_PATH",
        "O_TMPFILE",
        "RWF_APPEND",
        "RWF_DSYNC",
        "RWF_HIPRI",
        "RWF_NOWAIT",
        "RWF_SYNC",
    ),
    *("copy_file_range", "eventfd", "fdatasync", "getrandom", "getresgid", "getresuid", "getxattr", "listxattr", "memfd_create"),
    *(
        "pidfd_open",
        "posix_fadvise",
        "posix_fallocate",
        "removexattr",
        "sched_getaffinity",
        "sched_getparam",
        "sched_setaffinity",
    ),
    *("setns", "setresgid", "setresuid", "setxattr", "splice", "unshare"),
}
POSIX = {
    *("O_ASYNC", "O_CLOEXEC", "O_DIRECTORY", "O_DSYNC", "O_NDELAY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC"),
    *("WCONTINUED", "WCOREDUMP", "WEXITSTATUS", "WIFEXITED", "WIFSIGNALED", "WIFSTOPPED", "WNOHANG", "WSTOPSIG", "WTERMSIG"),
    *(
        "chown",
        "chroot",
        "confstr",
        "ctermid",
        "fchdir",
        "fchmod",
        "fchown",
        "fork",
        "forkpty",
        "fpathconf",
        "fstatvfs",
        "getegid",
    ),
    *(
        "geteuid",
        "getgid",
        "getgroups",
        "getloadavg",
        "getpgid",
        "getpgrp",
        "getpriority",
        "getsid",
        "getuid",
        "killpg",
        "lchown",
    ),
    *("lockf", "major", "makedev", "minor", "mkfifo", "mknod", "nice", "openpty", "pathconf", "posix_openpt", "posix_spawn"),
    *("posix_spawnp", "pread", "preadv", "pwrite", "pwritev", "readv", "register_at_fork", "sched_yield", "sendfile", "setegid"),
    *("seteuid", "setgid", "setgroups", "setpgid", "setpriority", "setregid", "setreuid", "setsid", "setuid", "statvfs", "sync"),
    *("sysconf", "tcgetpgrp", "tcsetpgrp", "ttyname", "uname", "wait", "wait3", "wait4", "waitid", "writev"),
}
ON_WINDOWS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
SIGNALS = {each for each in dir(signal) if each.startswith("SIG") and each.isupper()} - ON_WINDOWS
CALLS = {"alarm", "getitimer", "pause", "pidfd_send_signal", "pthread_kill", "pthread_sigmask", "setitimer", "sigpending"}
CALLS |= {"siginterrupt", "sigtimedwait", "sigwait", "sigwaitinfo"}
HIDDEN = {
    "windows": {"os": LINUX_ALONE | POSIX, "signal": SIGNALS | CALLS},
    "macos": {"os": LINUX_ALONE, "signal": {"SIGPWR", "SIGSTKFLT", "SIGRTMIN", "SIGRTMAX", "sigtimedwait", "sigwaitinfo"}},
}
OTHERS: dict[str, dict[str, dict[str, Any]]] = {
    "windows": {"os": {"name": "nt", "O_BINARY": 0, "getlogin": lambda: "user"}, "sys": {"platform": "win32"}},
    "macos": {"sys": {"platform": "darwin"}},
}
NO_PRIVILEGE = 1314


def is_ours(module: str) -> bool:
    return module.split(".", 1)[0] in OURS and module not in NOT_OURS


def caller_is_ours(depth: int = 2) -> bool:
    """Whether the project's code calls, directly or through pathlib, shutil and the like."""
    frame = sys._getframe(depth)
    while frame is not None and str(frame.f_globals.get("__name__", "")).split(".")[0] in ROUNDABOUT:
        if frame.f_code.co_name in ("TemporaryFile", "_mkstemp_inner", "close", "cleanup_unlink"):
            return False  # it removes a file that it has open, which it does otherwise on Windows
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and is_ours(str(frame.f_globals.get("__name__", "")))


def is_building(frame: types.FrameType | None) -> bool:
    while frame is not None:
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) == BUILDING:
            return True
        frame = frame.f_back
    return False


class Module(types.ModuleType):
    """A module as the project's code sees it."""

    def __init__(self, real: types.ModuleType, hidden: set[str], others: dict[str, Any]) -> None:
        super().__init__(real.__name__, real.__doc__)
        object.__getattribute__(self, "__dict__").update(_real=real, _hidden=hidden, _others=others)

    def __getattribute__(self, name: str) -> Any:
        own = object.__getattribute__(self, "__dict__")
        if name in own["_hidden"]:
            raise AttributeError(f"module {own['_real'].__name__!r} has no attribute {name!r}", name=name, obj=self)
        return own["_others"][name] if name in own["_others"] else getattr(own["_real"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "__dict__")["_real"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(object.__getattribute__(self, "__dict__")["_real"], name)


def imports(modules: set[str], seen: dict[str, Module]) -> None:
    real = builtins.__import__

    def imported(name: str, importer: Any = None, local: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level or not is_ours(str((importer or {}).get("__name__", ""))):
            return real(name, importer, local, fromlist, level)
        if name in modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        found = real(name, importer, local, fromlist, level)
        return seen.get(getattr(found, "__name__", ""), found)

    builtins.__import__ = imported  # type: ignore[assignment]


def no_proc() -> None:
    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def refuses(path: Any = ".", *given: Any, **more: Any) -> Any:
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith("/proc/") and caller_is_ours():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            return call(path, *given, **more)

        return refuses

    builtins.open = io.open = refusing(io.open)
    for name in ("readlink", "listdir", "scandir", "stat", "lstat"):
        real = getattr(os, name)
        setattr(os, name, refusing(real))
        for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if real in able:
                able.add(getattr(os, name))


def files_of_windows() -> None:
    fstat, status, listed, chmod, opened, linked = os.fstat, os.stat, os.listdir, os.chmod, io.open, os.symlink

    def is_open(path: Any, dir_fd: int | None) -> bool:
        try:
            found = status(path, dir_fd=dir_fd, follow_symlinks=False)
        except OSError:
            return False
        if not stat.S_ISREG(found.st_mode):
            return False
        for number in listed("/proc/self/fd"):
            try:
                if os.path.samestat(fstat(int(number)), found):
                    return True
            except OSError:
                continue  # that of the listing itself
        return False

    def keeping(call: Callable[..., Any], targets: int) -> Callable[..., Any]:
        def keeps(*given: Any, dir_fd: int | None = None, **more: Any) -> Any:
            if caller_is_ours():
                for path in given[:targets]:
                    if is_open(path, dir_fd):
                        raise PermissionError(errno.EACCES, "the process cannot access the file: it is open", str(path))
            return call(*given, **({} if dir_fd is None else {"dir_fd": dir_fd}), **more)

        return keeps

    os.replace, os.rename = keeping(os.replace, 2), keeping(os.rename, 2)
    os.unlink = keeping(os.unlink, 1)
    os.remove = keeping(os.remove, 1)

    def symlink(source: Any, target: Any, *given: Any, **more: Any) -> None:
        if is_building(sys._getframe(1)):
            linked(source, target, *given, **more)
            return
        error = OSError(errno.EINVAL, "a required privilege is not held by the client", str(source), None, str(target))
        error.winerror = NO_PRIVILEGE  # type: ignore[attr-defined]
        raise error

    os.symlink = symlink  # type: ignore[assignment]

    def read_only(path: Any, mode: int, **more: Any) -> None:
        if not caller_is_ours():
            chmod(path, mode, **more)
            return
        folder = os.path.isdir(path)
        chmod(path, (0o777 if folder else 0o666) if mode & stat.S_IWUSR else (0o555 if folder else 0o444), **more)

    os.chmod = read_only

    signature = inspect.signature(opened)

    def with_crlf(*given: Any, **more: Any) -> Any:
        asked = signature.bind(*given, **more)
        asked.apply_defaults()
        options = asked.arguments
        if "b" not in options["mode"]:
            if options["newline"] is None and set(options["mode"]) & set("wxa+") and caller_is_ours():
                options["newline"] = "\r\n"
            options["encoding"] = io.text_encoding(options["encoding"], 2)
        return opened(*asked.args, **asked.kwargs)

    builtins.open = io.open = with_crlf

    def no_folder(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return os.open(path, flags, mode, **more)

    OTHERS["windows"]["os"]["open"] = no_folder


def encodings_are_said() -> None:
    warnings.filterwarnings("ignore", category=EncodingWarning)
    warnings.filterwarnings("error", category=EncodingWarning, module="conda2wheel")


def simulate(system: str) -> None:
    import filelock  # noqa: F401 - with what it has here

    encodings_are_said()
    if system == "windows":
        files_of_windows()
    no_proc()
    real = {"os": os, "signal": signal, "sys": sys}
    hidden, others = HIDDEN[system], OTHERS[system]
    seen = {name: Module(module, hidden.get(name, set()), others.get(name, {})) for name, module in real.items()}
    imports(MODULES[system], seen)


if SYSTEM:
    try:
        simulate(SYSTEM)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        os._exit(3)  # Python would go on without
