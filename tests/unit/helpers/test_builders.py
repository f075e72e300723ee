"""The builders build what they promise, and no judge sleeps."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import conda, installed, judges, real, zig
from tests.helpers.systems import HAS_LINKS

NAME = "demo-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl"
INFO = "demo-1.0.dist-info"
Parts = dict[str, bytes]


def good() -> Parts:
    metadata = (
        "Metadata-Version: 2.4\nName: demo\nVersion: 1.0\nSummary: Demonstrates\nLicense-Expression: MIT\nLicense-File: LICENSE\n"
        'Requires-Dist: numpy>=2\nProvides-Extra: plot\nRequires-Dist: matplotlib; extra == "plot"\n'
        "Description-Content-Type: text/markdown\n\n# demo\n\nIt demonstrates.\n"
    )
    tag = NAME.removesuffix(".whl").partition("1.0-")[2]
    return {
        "demo.libs/libfoo.so": b"\0asm of a library",
        "demo/__init__.py": b"from demo._c import one\n",
        "demo/_c.cpython-313-wasm32-emscripten.so": b"\0asm of a module",
        f"{INFO}/METADATA": metadata.encode(),
        f"{INFO}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        f"{INFO}/licenses/LICENSE": b"MIT\n",
    }


def write(path: Path, parts: Parts, *, record: bool = True) -> Path:
    parts = dict(parts)
    if record:
        info = next(name.partition("/")[0] for name in parts if name.endswith("/METADATA"))
        rows = [f"{name},sha256={digest(content)},{len(content)}\n" for name, content in parts.items()]
        parts[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"]).encode()
    members = []
    for name, content in parts.items():
        member = zipfile.ZipInfo(name, (2025, 6, 1, 0, 0, 0))
        member.external_attr = 0o100644 << 16
        member.compress_type = zipfile.ZIP_DEFLATED
        members.append((member, content))
    return installed.raw_zip(path, members)


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def replaced(name: str, old: str, new: str) -> Callable[[Parts], Parts]:
    def change(parts: Parts) -> Parts:
        assert old.encode() in parts[name]
        return {**parts, name: parts[name].replace(old.encode(), new.encode())}

    return change


def test_a_good_wheel_passes_every_judge(tmp_path: Path) -> None:
    judges.judge(write(tmp_path / NAME, good()))


def test_a_good_wheel_without_description_passes(tmp_path: Path) -> None:
    change = replaced(f"{INFO}/METADATA", "Description-Content-Type: text/markdown\n\n# demo\n\nIt demonstrates.\n", "")
    judges.judge(write(tmp_path / NAME, change(good())))


@pytest.mark.parametrize(
    ("change", "judge"),
    [
        pytest.param(lambda parts: dict(reversed(parts.items())), "order", id="unsorted"),
        pytest.param(lambda parts: {"demo/": b"", **parts}, "zip", id="directory entry"),
        pytest.param(lambda parts: {"../demo.py": b"x", **parts}, "zip", id="leaves its folder"),
        pytest.param(lambda parts: {"demo/__pycache__/a.cpython-313.pyc": b"x", **parts}, "check-wheel-contents", id="pyc"),
        pytest.param(lambda parts: {**parts, "demo/same.py": parts["demo/__init__.py"]}, "check-wheel-contents", id="duplicates"),
        pytest.param(replaced(f"{INFO}/METADATA", "Version: 1.0\n", "Version: 1.1\n"), "name", id="other version"),
        pytest.param(replaced(f"{INFO}/METADATA", "Name: demo", "Name: other"), "name", id="other name"),
        pytest.param(replaced(f"{INFO}/METADATA", "MIT\nL", "Bad Licence\nL"), "metadata", id="not SPDX"),
        pytest.param(replaced(f"{INFO}/METADATA", "File: LICENSE", "File: COPYING"), "metadata", id="license file gone"),
        pytest.param(
            replaced(f"{INFO}/METADATA", "numpy>=2", "numpy @ https://example.org/numpy.whl"), "metadata", id="URL requirement"
        ),
        pytest.param(replaced(f"{INFO}/METADATA", "Version: 2.4", "Version: 2.6"), "metadata", id="metadata of the future"),
        pytest.param(replaced(f"{INFO}/WHEEL", "pyemscripten", "pyodide"), "metadata", id="WHEEL tells other tags"),
        pytest.param(replaced(f"{INFO}/WHEEL", "false", "true"), "metadata", id="WHEEL says pure"),
        pytest.param(
            replaced(f"{INFO}/METADATA", "text/markdown\n\n# demo", "text/x-rst\n\n`demo\n===="), "twine", id="broken rst"
        ),
        pytest.param(
            replaced(f"{INFO}/METADATA", "It demonstrates.", "Requires-Dist: sixpack"), "micropip", id="header in the body"
        ),
        pytest.param(replaced(f"{INFO}/METADATA", "numpy>=2", "numpy\n >=2"), "micropip", id="folded header"),
    ],
)
def test_a_bad_wheel_is_caught(change: Callable[[Parts], Parts], judge: str, tmp_path: Path) -> None:
    assert_caught(write(tmp_path / NAME, change(good())), judge)


@pytest.mark.parametrize(
    ("name", "judge"),
    [
        ("demo-1.0-cp313-cp313-wasm32.whl", "tags"),
        ("demo-1.0-cp313-cp312-pyemscripten_2025_0_wasm32.whl", "tags"),
        ("demo-1.0-cp313-cp312-pyemscripten_2025_0_wasm32.whl", "uv"),
        ("demo-1.0-1-cp313-cp313-pyemscripten_2025_0_wasm32.whl", "name"),
        ("Demo-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl", "name"),
        ("demo-1.00-cp313-cp313-pyemscripten_2025_0_wasm32.whl", "name"),
        ("demo-cp313-cp313-pyemscripten_2025_0_wasm32.whl", "name"),
    ],
)
def test_a_bad_file_name_is_caught(name: str, judge: str, tmp_path: Path) -> None:
    assert_caught(write(tmp_path / name, good()), judge)


def test_every_kind_of_platform_is_known(tmp_path: Path) -> None:
    for tags in ("cp313-abi3-pyemscripten_2026_0_wasm32", "cp311-cp311-emscripten_3_1_45_wasm32", "py3-none-any"):
        assert not list(judges.tags(tmp_path / f"demo-1.0-{tags}.whl"))


@pytest.mark.parametrize(
    ("spoil", "judge"),
    [
        pytest.param(lambda data: b"x" + data, "zip", id="prepended"),
        pytest.param(lambda data: data + b"x", "zip", id="trailing"),
        pytest.param(lambda data: data[:-30], "zip", id="truncated"),
        pytest.param(lambda data: data.replace(b"demo/__init__.py", b"demo/__minit.py_", 1), "zip", id="local name differs"),
    ],
)
def test_a_broken_container_is_caught(spoil: Callable[[bytes], bytes], judge: str, tmp_path: Path) -> None:
    wheel = write(tmp_path / NAME, good())
    wheel.write_bytes(spoil(wheel.read_bytes()))
    assert_caught(wheel, judge)


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        raise OSError("a pipe")

    def tell(self) -> int:
        raise OSError("a pipe")


def test_comments_descriptors_methods_links_and_twins_are_caught(tmp_path: Path) -> None:
    wheel = write(tmp_path / NAME, good())
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.comment = b"hello"
    assert_caught(wheel, "zip")
    stream = Pipe()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("demo/a.py", "x")
    wheel.write_bytes(stream.getvalue())
    assert_caught(wheel, "zip")
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert_caught(installed.raw_zip(wheel, [("demo/a.py", b"x" * 99)], compression=method), "zip")
    link = zipfile.ZipInfo("demo/a.py")
    link.external_attr = 0o120777 << 16
    assert_caught(installed.raw_zip(wheel, [(link, b"b.py")]), "order")
    with pytest.warns(UserWarning, match="Duplicate"):
        assert_caught(installed.raw_zip(wheel, [("demo/a.py", b"x"), ("demo/a.py", b"y")]), "zip")


def test_a_stale_record_is_caught(tmp_path: Path) -> None:
    parts = good()
    stale = f"demo/gone.py,sha256={digest(b'x')},1\n{INFO}/RECORD,,\n".encode()
    assert_caught(write(tmp_path / NAME, {**parts, f"{INFO}/RECORD": stale}, record=False), "record")


@pytest.mark.parametrize("name", sorted(real.WHEELS))
def test_upstreams_wheels_pass_all_but_our_order(name: str) -> None:
    assert {line.partition(":")[0] for line in judges.complaints(real.pypi_wheel(name))} <= {"order"}


@pytest.mark.parametrize("archive", ["tar.bz2", "conda"])
def test_a_repacked_wheel_is_as_bad_as_real_packages(archive: conda.ArchiveType) -> None:
    members = conda.members(real.as_conda(real.pypi_wheel("msgpack"), archive))
    site = "lib/python3.13/site-packages"
    index = json.loads(members["info/index.json"])  # type: ignore[arg-type]
    assert {"python_abi 3.13.* *_cp313", "emscripten-abi >=4,<5.0a0"} <= set(index["depends"])
    assert (index["version"], index["subdir"]) == ("1.2.4", "emscripten-wasm32")
    assert b"\nVersion: 0.0.0\n" in members[f"{site}/msgpack-0.0.0.dist-info/METADATA"]  # type: ignore[operator]
    assert members[f"{site}/msgpack-0.0.0.dist-info/INSTALLER"] == b"conda\n"
    assert {"share/man/man1/msgpack.1", f"{site}/msgpack/__pycache__/ext.cpython-313.pyc"} <= set(members)


@pytest.mark.parametrize("version", sorted(real.XEUS))
def test_xeus_has_emscripten_forges_own_packages(version: str) -> None:
    folder = real.xeus(version)
    listed = json.loads((folder / "empack_env_meta.json").read_text())["packages"]
    assert any(row["name"] == "numpy" for row in listed)
    assert {row["filename"] for row in listed} >= {path.name for path in folder.glob("*.tar.gz")} - {"python_data.tar.gz"}


@pytest.mark.parametrize("archive", ["tar.bz2", "conda"])
def test_placeholders_symlinks_and_the_compiler_are_told(archive: conda.ArchiveType, tmp_path: Path) -> None:
    files: dict[str, conda.Content] = {
        "lib/libz.so.1.3": b"\0asm",
        "lib/libz.so": conda.Link("libz.so.1.3"),
        "lib/text": f"{conda.PREFIX}/share",
        "lib/binary": b"\0" + conda.PREFIX.encode() + b"/share\0",
    }
    package = conda.build("zlib", "1.3", files, compiler="4.0.9", licenses={"LICENSE": "free"}, archive=archive)
    found = conda.members(package)
    paths = {row["_path"]: row for row in json.loads(found["info/paths.json"])["paths"]}  # type: ignore[arg-type]
    assert [paths[name].get("file_mode") for name in ("lib/text", "lib/binary", "lib/libz.so.1.3")] == ["text", "binary", None]
    assert paths["lib/libz.so"]["path_type"] == "softlink"
    assert found["lib/libz.so"] == conda.Link("libz.so.1.3")
    assert b"4.0.9" in found["info/recipe/variant_config.yaml"]  # type: ignore[operator]
    assert found["info/licenses/LICENSE"] == b"free"
    env = installed.prefix(tmp_path / "env", [package])
    assert (env / "lib" / "text").read_text() == "/opt/env/share"
    assert len((env / "lib" / "binary").read_bytes()) == paths["lib/binary"]["size_in_bytes"]
    assert (conda.unpack(package) / "lib" / "libz.so").is_symlink() == HAS_LINKS


def test_noarch_python_and_empack_have_their_shapes(tmp_path: Path) -> None:
    files: dict[str, conda.Content] = {"lib/python3.13/site-packages/p.py": "x = 1\n", "lib/b": b"b", "lib/a": conda.Link("b")}
    package = conda.build("p", "1.0", files, noarch="python", entry_points=["p = p:main"])
    found = conda.members(package)
    assert b"p = p:main" in found["info/link.json"]  # type: ignore[operator]
    assert "site-packages/p.py" in found
    empack = installed.empack_targz("p", "1.0", "pyh0_2", files)
    assert conda.members(empack)["lib/a"] == b"b"
    assert not any(name.startswith("info/") for name in conda.members(empack))
    env = installed.empack_env(tmp_path, [empack], listed=[("emscripten-abi", "3.1.45", "h0_0")])
    assert "emscripten-abi" in (env / "empack_env_meta.json").read_text()


def test_a_package_can_be_made_wrong(tmp_path: Path) -> None:
    package = conda.assemble("a", "1", {"lib/a": b"1"}, recipe={"recipe.yaml": "package: {name: a}"})
    assert conda.members(conda.repack(package, {"lib/a": b"2"}))["lib/a"] == b"2"
    lying = conda.edit(package, "info/index.json", lambda index: {**index, "platform": "linux"})
    assert b"linux" in conda.members(lying)["info/index.json"]  # type: ignore[operator]
    hostile = [
        *installed.honest(),
        installed.entry("../evil", b"x"),
        installed.entry("lib/a", kind=tarfile.SYMTYPE, link="/etc/passwd"),
    ]
    for made in (
        installed.raw_tar(tmp_path / "a-1-0.tar.bz2", hostile),
        installed.raw_conda(tmp_path / "a-1-0.conda", hostile[:2], hostile[2:]),
    ):
        assert conda.members(made)["lib/a"] == conda.Link("/etc/passwd")


@pytest.mark.parametrize("cycle", [False, True])
def test_the_chain_needs_its_libraries_by_their_aliases(cycle: bool) -> None:
    chain = zig.chain("313", cycle=cycle, rpath_top=["$ORIGIN/a", "$ORIGIN/b"])
    assert [path.name for path in chain.package().values()] == [
        f"{name}.cpython-313-wasm32-emscripten.so" for name in ("_top", "_deep")
    ]
    for module in chain.package().values():
        assert zig.Chain.ALIAS.encode() in module.read_bytes()[:400]
    assert b"libbase.so" in chain.count.read_bytes()[:400]
    assert (zig.Chain.ALIAS.encode() in chain.base.read_bytes()[:400]) is cycle
    assert b"\x09$ORIGIN/a\x09$ORIGIN/b" in chain.top.read_bytes()[:400]


def assert_caught(wheel: Path, judge: str) -> None:
    assert judge in {line.partition(":")[0] for line in judges.complaints(wheel)}
    with pytest.raises(AssertionError, match=judge):
        judges.judge(wheel)
