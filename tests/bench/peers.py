"""What else opens conda packages or writes wheels: conda-package-handling, py-rattler, the standard library's zipfile."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path


def conda_package_handling(package: Path) -> None:
    """Extract to disk."""
    import conda_package_handling.api as cph

    with tempfile.TemporaryDirectory() as folder:
        cph.extract(str(package), dest_dir=folder)


def py_rattler(package: Path) -> None:
    """Extract to disk."""
    from rattler.package_streaming import extract

    with tempfile.TemporaryDirectory() as folder:
        extract(package, Path(folder) / "extracted")


def extract_and_zip(package: Path) -> None:
    """Extract with conda-package-handling, and zip with the standard library at level 6: a script of ten lines."""
    import conda_package_handling.api as cph

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "extracted"
        cph.extract(str(package), dest_dir=str(place))
        with zipfile.ZipFile(Path(folder) / "made.whl", "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for path in sorted(place.rglob("*")):
                if path.is_file() and "info" not in path.relative_to(place).parts[:1]:
                    archive.write(path, str(path.relative_to(place)))


OPENING: dict[str, Callable[[Path], None]] = {
    "cph extract": conda_package_handling,
    "py-rattler extract": py_rattler,
    "cph extract + zipfile": extract_and_zip,
}
