"""NEEDED libraries that no libdir has: looked up in the channel, in what the package depends on and in their namesakes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rattler.index import index_fs

from conda2wheel import Failed, Refused, convert, verify
from conda2wheel.abi.platforms import platforms
from conda2wheel.channels.listing import ChannelListing
from conda2wheel.channels.open import open_package
from conda2wheel.files.packagefile import Limits
from conda2wheel.link.channel_lookup import ChannelLibraries, _names_for
from tests.helpers import conda, zig
from tests.helpers.served import Served, serve
from tests.unit.link.test_linker import chain_packages, library, modules, python
from tests.unit.wheel.test_provenance import told


def indexed(root: Path, *packages: Path) -> Path:
    for subdir in ("noarch", "emscripten-wasm32"):
        (root / subdir).mkdir(parents=True, exist_ok=True)
    for package in packages:
        shutil.copy(package, root / "emscripten-wasm32" / package.name)
    asyncio.run(index_fs(root))
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A channel with a package of extension modules, and its libraries in packages that it does not say it needs; of one library
    a newer build for another Emscripten."""
    package, count, base = chain_packages(zig.chain())
    other = library("libcount", {"lib/libcount.so.1": zig.chain("314").count}, version="2.0", py="314")
    odd = python({"pkg/__init__.py": "", **zig.chain().package()}, name="odd", depends=("strange-name >=1,<2",))
    strange = [
        library("strange-name", {"lib/libcount.so.1": zig.chain().count}, version=version) for version in ("1.0", "1.5", "2.0")
    ]
    root = indexed(tmp_path_factory.mktemp("channel"), package, count, base, other, odd, *strange)
    with serve(root) as server:
        yield server


@pytest.fixture
def channel(server: Served) -> str:
    return server.url


def test_a_spec_brings_its_libraries_from_the_channel(channel: str, tmp_path: Path) -> None:
    result = convert("pkg", channels=[channel], out=tmp_path)
    assert {lib.source.partition(":")[0] for lib in result.vendored} == {"libcount-1.0-h1234567_0", "libbase-1.0-h1234567_0"}
    assert len(modules(result)) == 4
    messages = [warning.message for warning in result.warnings if warning.code == "library-from-channel"]
    assert [message.partition(", from ")[0] for message in messages] == [
        "libcount.so.1 is lib/libcount.so.1.2.3 of libcount-1.0-h1234567_0",
        "libbase.so is lib/libbase.so of libbase-1.0-h1234567_0",
    ]
    sources = told(result.wheel)["sources"]
    assert [each["name"] for each in sources] == ["pkg", "libbase", "libcount"]
    assert all(each["sha256"] and each["filename"] and each["channel"] == channel for each in sources)
    assert result.wheel is not None
    assert verify(result.wheel, chain_packages(zig.chain())).identical


def test_what_the_package_depends_on_comes_first_in_a_version_that_it_admits(channel: str, tmp_path: Path) -> None:
    result = convert("odd", channels=[channel], out=tmp_path)
    assert "strange-name-1.5-h1234567_0" in {lib.source.partition(":")[0] for lib in result.vendored}


def test_a_libdir_comes_before_the_channel(server: Served, channel: str, tmp_path: Path) -> None:
    _, count, base = chain_packages(zig.chain())
    server.forget()
    result = convert("pkg", channels=[channel], out=tmp_path, libdirs=[count, base])
    assert not any("libcount" in path or "libbase" in path for path in server.asked("*.tar.bz2"))
    assert "library-from-channel" not in {warning.code for warning in result.warnings}


def test_a_file_asks_a_channel_only_where_one_is_named(server: Served, channel: str, tmp_path: Path) -> None:
    package, _, _ = chain_packages(zig.chain())
    server.forget()
    with pytest.raises(Refused) as caught:
        convert(package, out=tmp_path)
    assert (caught.value.code, server.asked()) == ("missing-library", [])
    assert convert(package, out=tmp_path, channels=[channel]).vendored


def test_a_library_that_the_channel_has_not_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    package, count, _ = chain_packages(zig.chain())
    root = indexed(tmp_path / "channel", package, count)
    with pytest.raises(
        Refused,
        match=r"NEEDs libbase\.so, which is not in the package, file:.*looked for by its file name, first in .*libbase, base",
    ) as caught:
        convert("pkg", channels=[root.as_uri()], out=tmp_path / "out")
    assert caught.value.code == "missing-library"


def test_one_package_sees_nothing_of_what_another_looked_up(channel: str, tmp_path: Path) -> None:
    from conda2wheel.link.library_index import LibraryIndex

    index = LibraryIndex([], Limits())
    convert("pkg", channels=[channel], out=tmp_path, libdirs=index)
    with pytest.raises(Refused):
        convert(chain_packages(zig.chain())[0], out=tmp_path, libdirs=index)
    assert index.warnings == []


def test_a_channel_that_does_not_answer_is_the_networks_fault(tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        convert(chain_packages(zig.chain())[0], out=tmp_path, channels=["http://127.0.0.1:9/nobody"])
    assert caught.value.code == "network"


@pytest.mark.parametrize(
    ("needed", "names"),
    [
        ("libhdf5_hl.so.310", ("libhdf5_hl", "hdf5_hl", "hdf5_hllib", "libhdf5", "hdf5")),
        ("libz.so.1", ("libz", "z", "zlib")),
        ("libopenblas.so", ("libopenblas", "openblas", "openblaslib")),
    ],
)
def test_what_a_library_may_be_called(needed: str, names: tuple[str, ...]) -> None:
    assert _names_for(needed) == names


def test_markers_are_not_looked_for(tmp_path: Path) -> None:
    root = indexed(tmp_path / "channel")
    looked = ChannelLibraries(ChannelListing([root.as_uri()], Limits()))
    package = conda.assemble(
        "x", "1.0", {"lib/a": "a"}, depends=["numpy", "python", "emscripten-abi >=4", "openblas =0.3", "libfoo"]
    )
    assert list(looked.candidates("libfoo.so", open_package(package), platforms()[-1:])) == []
    assert list(looked.searched) == ["libfoo", "numpy", "openblas", "foo", "foolib"]
