"""What dependencies are called where their own dist-info is at hand: in a libdir, another source, a channel; and verify knows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from conda2wheel import convert, verify
from conda2wheel.channels.downloads import Downloads
from conda2wheel.commands.convert import convert_each
from conda2wheel.conda.names import PackageDistributions, map_name
from conda2wheel.files.packagefile import Limits
from conda2wheel.wheel.name_sources import NameSources
from tests.helpers import command, conda, served
from tests.unit.link.test_channel_lookup import indexed
from tests.unit.wheel.test_provenance import told


def distribution(name: str, *called: str, version: str = "1.0") -> Path:
    """A noarch package with these distributions inside."""
    files = {f"site-packages/{each}-{version}.dist-info/METADATA": f"Name: {each}\nVersion: {version}\n" for each in called}
    return conda.assemble(name, version, {f"site-packages/{name}.py": "", **files}, noarch="python", string="pyh1_0")


def user(*depends: str) -> Path:
    """A package without metadata, whose requirements are its depends."""
    files = {"site-packages/user.py": "x = 1\n"}
    return conda.assemble("user", "1.0", files, noarch="python", string="pyh1_0", depends=["python >=3.9", *depends])


ODD = distribution("odd", "Other_Name")  # what the rows know nothing of
ZSTD = distribution("zstd", "zstd")  # which our rows deny: PyPI's of that name is another one
BARE = conda.assemble("bare", "1.0", {"site-packages/bare.py": ""}, noarch="python", string="pyh1_0")
META = conda.assemble("meta", "1.0", {}, noarch="generic", string="h1_0")
ARROW = conda.assemble("pyarrow", "1.0", {"site-packages/pyarrow.py": ""}, noarch="python", string="pyh1_0")
ALL = (ODD, ZSTD, BARE, META, ARROW)
DEPENDS = ("odd >=1,<2", "zstd", "bare", "meta", "pyarrow", "attrs >=20")
REQUIRES = ("attrs>=20", "meta", "other-name<2,>=1", "pyarrow", "zstd")
WITHOUT = ("attrs>=20", "bare", "meta", "odd<2,>=1", "pyarrow")  # by the rows alone


def test_rows_alone_say_otherwise(tmp_path: Path) -> None:
    assert convert(user(*DEPENDS), out=tmp_path).requires == WITHOUT


def test_a_libdirs_packages_say_what_they_are_called(tmp_path: Path) -> None:
    (tmp_path / "pkgs").mkdir()
    for package in ALL:
        (tmp_path / "pkgs" / package.name).write_bytes(package.read_bytes())
    unpacked = [conda.unpack(package) for package in ALL]
    for places in ([tmp_path / "pkgs"], ALL, unpacked):
        assert convert(user(*DEPENDS), out=tmp_path, libdirs=places, dry_run=True).requires == REQUIRES


def test_other_sources_of_the_same_call_say_so_whatever_comes_first(tmp_path: Path) -> None:
    sources = [str(user("odd >=1,<2")), str(ODD)]
    for order in (sources, sources[::-1]):
        outcomes = {each.source: each.converted for each in convert_each(order, out=tmp_path, dry_run=True)}
        found = outcomes[sources[0]]
        assert found is not None
        assert found.requires == ("other-name<2,>=1",)


def test_a_channels_packages_say_so_by_their_info_alone_and_verify_needs_no_channel(tmp_path: Path) -> None:
    root = indexed(tmp_path / "channel")
    for package in ALL:
        (root / "noarch" / package.name).write_bytes(package.read_bytes())
    indexed(root)
    downloads = Downloads(tmp_path / "cache")
    with served.serve(root) as record:
        result = convert(user(*DEPENDS), channels=[record.url], out=tmp_path, downloads=downloads)
        assert {name for name, asked in record.parts().items() if None in asked} == set()
        record.forget()
        convert(user(*DEPENDS), channels=[record.url], out=tmp_path / "again", downloads=downloads)
        assert record.parts() == {}
        offline = Downloads(tmp_path / "cache", offline=True)
        assert convert(user(*DEPENDS), channels=[record.url], out=tmp_path / "2", downloads=offline).sha256 == result.sha256
    assert result.requires == REQUIRES
    assert told(result.wheel)["options"]["names"] == {"bare": None, "odd": "other-name", "zstd": "zstd"}
    assert result.wheel is not None
    verified = verify(result.wheel, [user(*DEPENDS)])
    assert verified.identical, verified.differences


def test_what_only_agrees_with_the_rows_changes_no_wheel(tmp_path: Path) -> None:
    attrs = distribution("attrs", "attrs")
    alone = convert(user("attrs"), out=tmp_path / "1")
    beside = convert(user("attrs"), out=tmp_path / "2", libdirs=[attrs])
    assert alone.sha256 == beside.sha256


def test_the_version_that_depends_admit_is_asked(tmp_path: Path) -> None:
    renamed = distribution("odd", "newer_name", version="2.0")
    for depends, name in (("odd <2", "other-name<2"), ("odd", "newer-name"), ("odd >=3", "newer-name>=3")):
        assert convert(user(depends), out=tmp_path, libdirs=[ODD, renamed], dry_run=True).requires == (name,)


def test_a_broken_package_beside_says_nothing(tmp_path: Path) -> None:
    broken = tmp_path / ODD.name
    broken.write_bytes(b"BZh9 nothing")
    around = NameSources([tmp_path, "no-such-thing", "a::spec"], Limits())
    assert around.seen({"odd": "odd"}, ()) == ({}, ())


@pytest.mark.parametrize(
    ("conda_name", "inside", "pypi", "source"),
    [
        ("foo", ("Foo_Bar",), "foo-bar", "dist-info"),
        ("pillow", ("UNKNOWN",), "pillow", "identity"),  # a real one says nothing of its name
        ("opencv-thing", ("a", "b"), "opencv-thing", "identity"),  # which of them it is nobody knows
        ("python-duckdb", ("duckdb", "adbc_driver_duckdb"), "duckdb", "dist-info"),
        ("py-opencv", (), "opencv-python", "table"),  # known to have no dist-info
        ("zlib", (), None, "table"),
        ("some-lib", (), None, "nobody"),
        ("python", ("x",), None, "nobody"),  # a marker, whatever lies in it
    ],
)
def test_an_answer_with_the_package_at_hand(conda_name: str, inside: tuple[str, ...], pypi: str | None, source: str) -> None:
    found = map_name(conda_name, PackageDistributions(f"{conda_name}-1.0-0", inside))
    assert (found.pypi, found.source) == (pypi, source)


def test_the_command_says_which_package_says_so(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command.run("names", *arguments)

    root = indexed(tmp_path / "channel")
    (root / "noarch" / ODD.name).write_bytes(ODD.read_bytes())
    indexed(root)
    by_channel = run("odd", "bare", "--channel", str(root), "--libdir", str(BARE), "--json")
    assert json.loads(by_channel.stdout)["results"] == [
        {"conda": "odd", "pypi": "other-name", "source": "dist-info", "note": "odd-1.0-pyh1_0"},
        {"conda": "bare", "pypi": None, "source": "nobody", "note": "bare-1.0-pyh1_0 has no distribution inside"},
    ]
    assert run("odd", "--libdir", str(ODD)).stdout == "odd  other-name  dist-info  (odd-1.0-pyh1_0)\n"
    nowhere = run("odd", "--channel", "http://example.org/insecure", "--offline")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr.startswith(
        "conda2wheel: error: network: odd: http://example.org/insecure: only https and file URLs are opened"
    )
    assert run("odd", "--libdir", str(tmp_path / "missing")).returncode == 2
