"""Names of files that come from elsewhere and are written to a disk under that name: on every system one file, and that one."""

from __future__ import annotations

import re
from pathlib import PurePath, PureWindowsPath

MAX_BYTES = 255  # of a name, on the usual file systems
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')  # of Windows; `:` begins a stream of a file there
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\..*)?", re.IGNORECASE | re.DOTALL)


def is_portable(name: str) -> bool:
    """Whether a name without a folder is that of an ordinary file on Linux, macOS and Windows.

    >>> [is_portable(each) for each in ("six-1.16-py3-none-any.whl", "..", "a/b", "nul.whl", "a:b", "a.", "console")]
    [True, False, False, False, False, False, True]
    """
    return (
        0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_BYTES
        and not _FORBIDDEN.search(name)
        and not name.endswith((".", " "))
        and not _DEVICES.fullmatch(name)
    )


def extended(path: PurePath) -> str:
    r"""Return an absolute path so that Windows takes it as it is: longer than 260 characters, with folders such as `con`.

    >>> print(extended(PureWindowsPath("C:/store")), extended(PureWindowsPath("//host/share/store")))
    \\?\C:\store \\?\UNC\host\share\store
    """
    text = str(path)
    if not isinstance(path, PureWindowsPath) or text.startswith("\\\\?\\"):
        return text
    return "\\\\?\\UNC" + text[1:] if text.startswith("\\\\") else "\\\\?\\" + text
