"""Wheels for Pyodide that their own projects put on PyPI: the newest of each project and platform in November 2026."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packaging.utils import parse_wheel_filename

from tests.helpers import cache

_PYTHONS = {"2024_0": "3.12", "2025_0": "3.13", "2026_0": "3.14", "2026_5": "3.15"}


@dataclass(frozen=True)
class Published:
    """One of them: its file name and its hash."""

    filename: str
    sha256: str

    @property
    def project(self) -> str:
        """The name on PyPI."""
        return str(parse_wheel_filename(self.filename)[0])

    @property
    def platform(self) -> str:
        """Its platform tag without the architecture, such as `pyemscripten_2025_0`."""
        return self.filename.rpartition("-")[2].removesuffix("_wasm32.whl")

    def get(self) -> Path:
        """The file, from PyPI or from the cache."""
        version, python = str(parse_wheel_filename(self.filename)[1]), _PYTHONS[self.platform.partition("_")[2]]
        abi = f"cp{python.replace('.', '')}"
        options = ["--python-version", python, "--implementation", "cp", "--abi", abi, "--abi", "abi3"]
        return cache.pypi(self.project, version, self.sha256, *options, "--platform", f"{self.platform}_wasm32")


PUBLISHED = tuple(
    Published(f"{stem}_wasm32.whl", sha256)
    for sha256, stem in (
        line.split()
        for line in """
0c5b66f8ac094a9f9e26b5558c28691a327c626fd6af73b3026aa146ee6e0289 awkward_cpp-57-cp313-cp313-pyemscripten_2025_0
e21c6f2ba1ba560a613c7acfe63e150736895fd4cf7bb48bc6dbff83a3435667 awkward_cpp-57-cp314-cp314-pyemscripten_2026_0
abd0f7e51ecc52bf8c95713bd80b1c17c516a71fa391c54475308a4377903c2b contourpy-1.4.0-cp313-cp313-pyemscripten_2025_0
fa1b787362a3856e63dd2b89449f6c384d55ee1beb8f94f4bcc871b40f02462c contourpy-1.4.0-cp314-cp314-pyemscripten_2026_0
c8be3392b84cf43373a488874dc1ebf46f60784a70977f92586e18019d71c7ed contourpy-1.4.0-cp315-cp315-pyemscripten_2026_5
707b8194222a343c4a5e1574df95f5ade03e3f1cbdba77d8c89c6af0f40d92cd jiter-0.19.0-cp314-cp314-pyemscripten_2026_0
77c7a2b4fe2c1369e0d5aa1cade26740a7b14be32fbc9a5535d617d20065c39d librt-0.16.0-cp313-cp313-pyemscripten_2025_0
1b384b90ab79a7bc30b566895809a636e0666f21f3cf12b54823d025b7e83839 librt-0.16.0-cp314-cp314-pyemscripten_2026_0
f01f3805f2dae4781c0c34b440e31740d082950bdaf89a6f601ad589a28af57a librt-0.16.0-cp315-cp315-pyemscripten_2026_5
d088d1f552e129859db830692268747aba0a1ee3e6e0fe6344dbb3aab1df9f6c msgpack-1.2.4-cp313-cp313-pyemscripten_2025_0
06a0657a4110d563255006b7cb7147432f67827144e429c2cdb1c967548d1817 msgpack-1.2.4-cp314-cp314-pyemscripten_2026_0
a66b1766311e42371e509c996c3933b161c7ae0eabdf361af5316dec197e1022 msgspec-0.22.0-cp314-cp314-pyemscripten_2026_0
6705575b65750e4494b4f9328eed8cb263b4b809984d4eeb8f492a3e804b0c53 pandas-3.1.1-cp312-cp312-pyemscripten_2024_0
7936cc0020026bc8f7590553e71f9939dc7fb65633d7ac6497cb3ac684095d34 perspective_python-5.5.1-cp311-abi3-pyemscripten_2025_0
a1cdd7e8133fd99706c5b6d29cc624c20db2adb711c4e87e9a65ccd43f7e1f3a perspective_python-5.6.1-cp311-abi3-pyemscripten_2026_0
7711b7b14d321e18b61de6133fe28cb48bcc2b55c4841e73d5792f1d14d50b56 powerfit_em-5.0.3-cp313-cp313-pyemscripten_2025_0
a509c85649bc6deeef36f837cf71d29399616afa14ff073c9a4a33747dc6129f powerfit_em-6.0.2-cp314-cp314-pyemscripten_2026_0
97b9d5b38f64a21b1e116163102db53d053cdaae8d6256b46169706a969cde9d pycdfpp-0.19.0-cp313-cp313-pyemscripten_2025_0
1ed8c20a4190832d0e448e3331ec4f01cdfdb5bb3cbe867323acf15530b41527 pycdfpp-0.19.0-cp314-cp314-pyemscripten_2026_0
a38ea316225d74b0ffaf142ed1adbccca48e6ce568b3f44711b7656fc6fcd49f pycdfpp-0.19.0-cp315-cp315-pyemscripten_2026_5
e6da138a1ecc1341c8b788a5ee822670b03788e1f5decf7af9d461de6e508b8e pydantic_core-2.50.4-cp314-cp314-pyemscripten_2026_0
2e1b574c0fd2cb238021033fd3c0f9c4388816638df064e4bfb56d9d81736dc8 pymupdf-1.28.2-cp313-abi3-pyemscripten_2025_0
b31f5c00e0e36040ab58d00b3025156e20869b990d776e4bf90f870b1ee11ad3 python_flint-0.9.0-cp314-cp314-pyemscripten_2026_0
d536eaf8161af2fd48c9842397e9cbd6aa7c4a12e6f5c820aa40f49cb4445302 uharfbuzz-0.57.0-cp311-abi3-pyemscripten_2025_0
430b78efc0cff3365461ff79e0d0a944cda17253171d5a4f8cf4615ebde08541 uharfbuzz-0.57.0-cp311-abi3-pyemscripten_2026_0
""".strip().splitlines()
    )
)


def published(start: str) -> Published:
    """The one whose file name starts so."""
    (found,) = (each for each in PUBLISHED if each.filename.startswith(start))
    return found
