"""`audit --for pypi`: what PyPI would refuse, and nothing that it takes."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from rfc3986 import exceptions, uri_reference, validators  # type: ignore[import-untyped]

from conda2wheel import audit, repair
from conda2wheel.files.zip_framing import framing_problem
from conda2wheel.wheel.pypi import is_email, is_web_url, pypi_findings, standard_library_names
from tests.helpers import command, conda
from tests.helpers.foreign import Foreign
from tests.helpers.tools import run_python, tools

TAG = "cp313-cp313-pyemscripten_2025_0_wasm32"
PLAIN: dict[str, conda.Content] = {"pkg/__init__.py": ""}
INFO = "pkg-1.0.dist-info"


def wheel(folder: Path, tag: str = TAG, metadata: str = "", **options: object) -> Path:
    """A wheel that PyPI takes, but for what is asked for: `metadata` are further fields."""
    version = "2.4" + (f"\n{metadata}" if metadata else "")
    made = Foreign(tag, PLAIN, metadata_version=version, **options).write(folder)  # type: ignore[arg-type]
    return Path(repair(made, out=folder / "sound").wheel) if "-none-" not in tag else rewritten(made, lambda members: members)


def rewritten(path: Path, change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> Path:
    """The wheel with other members; RECORD is not made anew."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in change(members).items():
            archive.writestr(name, data)
    return path


def codes(path: Path) -> list[str]:
    return [finding.code for finding in pypi_findings(path)]


METADATA = {
    "License: MIT\nLicense-Expression: MIT": "pypi-metadata",
    "Requires-Dist: demo @ https://example.org/demo-1.0.tar.gz": "pypi-direct-reference",
    "Obsoletes-Dist: demo @ https://example.org/demo-1.0.tar.gz": "pypi-direct-reference",
    "Provides-Dist: _no_": "pypi-metadata",
    "Requires-Dist: demo >=": "pypi-metadata",
    "Requires-Python: three": "pypi-metadata",
    "Classifier: Topic :: Of Mine": "pypi-classifier",
    "Classifier: Natural Language :: Ukranian": "pypi-classifier",
    "Project-URL: no comma": "pypi-metadata",
    f"Project-URL: {'x' * 33}, https://example.org": "pypi-metadata",
    "Project-URL: Home, example.org": "pypi-metadata",
    "Home-page: ftp://example.org": "pypi-metadata",
    "Author-email: Somebody <not an address>": "pypi-metadata",
    "Maintainer-email: me@localhost": "pypi-metadata",
    "Dynamic: Version": "pypi-metadata",
    "License-Expression: MIT/X11": "pypi-metadata",
    "License-File: NOTICE": "pypi-license-file",
    "Import-Name: pkg": "pypi-metadata",  # a field of 2.5
}
TAKEN = (
    "Classifier: Typing :: Typed",
    "Requires-Dist: demo[extra] >=1,<2 ; python_version > '3'",
    "Project-URL: Home Page, https://example.org/a?b=c#d\nHome-page: http://example.org",
    "Author-email: A Name <a.name+tag@example.org>",
    "Dynamic: Requires-Dist",
    "License-Expression: MIT OR Apache-2.0",
    "Keywords: a,b c",
)


def test_every_field_that_pypi_refuses_is_found(tmp_path: Path) -> None:
    for number, (field, code) in enumerate(METADATA.items()):
        path = wheel(tmp_path / str(number), "py3-none-any", field)
        assert codes(path) == [code], field
    for number, field in enumerate(TAKEN):
        assert codes(wheel(tmp_path / f"t{number}", "py3-none-any", field)) == [], field


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        (TAG, None),
        ("cp314-cp314-pyemscripten_2026_0_wasm32", None),
        ("py3-none-any", None),
        ("cp312-abi3-manylinux_2_28_x86_64", None),
        ("cp312-cp312-macosx_11_0_arm64.macosx_10_9_x86_64", None),
        ("cp313-cp313-pyodide_2025_0_wasm32", "pypi-tag"),
        ("cp313-cp313-pyemscripten_2025_0_wasm32.pyodide_2025_0_wasm32", "pypi-tag"),
        ("cp313-cp313-emscripten_4_0_9_wasm32", "pypi-tag"),
        ("cp313-cp313-linux_wasm32", "pypi-tag"),
        ("cp313-cp313-linux_x86_64", "pypi-tag"),
    ],
)
def test_tags(tag: str, code: str | None, tmp_path: Path) -> None:
    path = rewritten(Foreign(tag, PLAIN).write(tmp_path), lambda members: members)
    assert codes(path) == ([code] if code else [])


def test_names_and_versions(tmp_path: Path) -> None:
    made = Foreign("py3-none-any", PLAIN).write(tmp_path)
    for name, expected in {
        "Pkg-1.0-py3-none-any.whl": {"pypi-filename", "pypi-dist-info"},
        "pkg-1.1-py3-none-any.whl": {"pypi-dist-info"},
        "pkg-1.0-any.whl": {"pypi-filename"},
    }.items():
        path = tmp_path / name
        path.write_bytes(made.read_bytes())
        assert expected <= set(codes(path)), name
    other = rewritten(
        Foreign("py3-none-any", PLAIN, name="a.b").write(tmp_path),
        lambda members: {n.replace("a.b-", "a_b-"): d for n, d in members.items()},
    )
    other = other.rename(tmp_path / "a_b-1.0-py3-none-any.whl")
    assert codes(other) == ["pypi-record"]
    wrong = rewritten(made, lambda members: {n: d.replace(b"Version: 1.0\n", b"Version: 1.1\n") for n, d in members.items()})
    assert codes(wrong) == ["pypi-filename"]
    local = Foreign("py3-none-any", PLAIN, version="1.0+local.1").write(tmp_path)
    assert codes(rewritten(local, lambda members: members)) == ["pypi-local-version"]
    named = Foreign("py3-none-any", PLAIN, name="asyncio").write(tmp_path)
    assert codes(rewritten(named, lambda members: members)) == ["pypi-name"]


@pytest.mark.parametrize(
    ("gone", "expected"),
    [(name, ["pypi-dist-info", "pypi-record"]) for name in ("WHEEL", "METADATA")] + [("RECORD", ["pypi-dist-info"])],
)
def test_what_is_missing_in_dist_info(gone: str, expected: list[str], tmp_path: Path) -> None:
    made = Foreign("py3-none-any", PLAIN).write(tmp_path)
    assert codes(rewritten(made, lambda members: {n: d for n, d in members.items() if n != f"{INFO}/{gone}"})) == expected


def test_entry_points_description_and_compression(tmp_path: Path) -> None:
    for number, (text, expected) in enumerate(
        {
            "[console_scripts]\nrun = pkg:main\nGo-2.x = pkg:main\n": [],
            "[console_scripts]\n../run = pkg:main\n": ["pypi-entry-points"],
            "[console_scripts]\nrun: pkg:main\n": ["pypi-entry-points"],
            "run = pkg:main\n": ["pypi-entry-points"],
            "[console_scripts]\nrun = a\nrun = b\n": ["pypi-entry-points"],
        }.items()
    ):
        extra = {"entry_points.txt": text.encode()}
        made = Foreign("py3-none-any", PLAIN, extra=extra).write(tmp_path / str(number))
        assert codes(rewritten(made, lambda members: members)) == expected, text
    kinds = {"text/plain": [], "text/markdown": [], "text/x-rst": ["pypi-description"], "": ["pypi-description"]}
    for kind, expected in kinds.items():
        lines = f"Description-Content-Type: {kind}\n" if kind else ""
        text = f"Metadata-Version: 2.4\nName: pkg\nVersion: 1.0\n{lines}\n.. raw:: html\n\n   <b>\n\n.. unknown::\n\n`"
        made = Foreign("py3-none-any", PLAIN).write(tmp_path / "d")
        assert codes(rewritten(made, lambda m, text=text: m | {f"{INFO}/METADATA": text.encode()})) == expected, kind  # type: ignore[misc]
    with zipfile.ZipFile(made, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("pkg/more.txt", "more")
    assert codes(made) == ["pypi-compression", "pypi-record", "pypi-description"]


def test_damage_is_a_finding(tmp_path: Path) -> None:
    made = Foreign("py3-none-any", PLAIN).write(tmp_path)
    rewritten(made, lambda members: members | {f"{INFO}/WHEEL": b"x" * 2000})
    with zipfile.ZipFile(made) as archive:
        at = archive.getinfo(f"{INFO}/WHEEL").header_offset
    data = bytearray(made.read_bytes())
    begin = at + 30 + len(f"{INFO}/WHEEL")
    data[begin : begin + 8] = b"\xff" * 8
    made.write_bytes(data)
    assert "pypi-dist-info" in codes(made)
    for bad in (b"", b"\x1f\x8b\x08\x00broken", b"BZh9broken", b"\xfd7zXZ\x00broken", b"PK\x05\x06"):
        made.write_bytes(bad)
        assert codes(made) == ["pypi-zip"]


def sound() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"a" * 100)
        archive.writestr("b/ü.txt", b"b" * 100)
    return stream.getvalue()


def framings() -> Iterator[tuple[str, bytes, bool]]:
    """Zips, with whether PyPI takes them."""
    data = sound()
    central, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    yield "plain", data, True
    yield "empty", end_record(0, 0, 0), True
    commented = bytearray(data + b"note")
    commented[-6:-4] = struct.pack("<H", 4)
    yield "a comment of the archive", bytes(commented), True
    yield "trailing data", data + b"\0", False
    yield "data before it", b"#!/bin/sh\n" + data, False
    flags = bytearray(data)
    flags[6] |= 8
    yield "a data descriptor", bytes(flags), False
    second = data.index(b"PK\x03\x04", 4)
    yield "a member that the directory has not", data[:second] + data[:second] + moved(data[second:], second), False
    twice = bytearray(data)
    entry = data[central : data.index(b"PK\x01\x02", central + 1)]
    yield "an entry that comes twice", bytes(twice[:end]) + entry + end_record(3, end - central + len(entry), central), False
    yield "an end that counts too few", data[:end] + end_record(1, end - central, central), False
    sizes = bytearray(data)
    sizes[22] += 1
    yield "another size before the data", bytes(sizes), False
    name = data.replace(b"a.txt", b"a\x07txt")
    yield "a control character", name, False
    latin = data.replace("ü".encode(), b"\xfc\xfc")
    yield "a name that is no UTF-8", latin, False
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"a")
    yield "ZIP64", stream.getvalue(), True
    with zipfile.ZipFile(stream := io.BytesIO(), "w") as archive:
        info = zipfile.ZipInfo("a")
        info.comment = b"note"
        archive.writestr(info, b"a")
    yield "a comment of a member", stream.getvalue(), False


def end_record(count: int, size: int, offset: int) -> bytes:
    return b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, count, count, size, offset, 0)


def moved(rest: bytes, by: int) -> bytes:
    """The rest of a zip, whose directory begins later."""
    end = bytearray(rest)
    (offset,) = struct.unpack("<L", end[-6:-2])
    end[-6:-2] = struct.pack("<L", offset + by)
    return bytes(end)


def test_zips_that_readers_see_differently(tmp_path: Path) -> None:
    for what, data, taken in framings():
        path = tmp_path / "pkg-1.0-py3-none-any.whl"
        path.write_bytes(data)
        try:
            problem = framing_problem(path)
        except zipfile.BadZipFile as error:
            problem = str(error)
        assert (problem == "") is taken, (what, problem)


def warehouses(url: str) -> bool:
    """warehouse/utils/http.py, is_valid_uri: the same library, asked in the same way."""
    validator = validators.Validator().allow_schemes("http", "https").require_presence_of("scheme")
    validator.check_validity_of("scheme", "host", "port", "path", "query")
    try:
        validator.validate(uri_reference(url).normalize())
    except exceptions.ValidationError:
        return False
    return True


def test_urls_are_judged_as_by_pypi() -> None:
    hosts = ("example.org", "exämple.org", "[::1]", "u:p@example.org", "example.org:80", "example.org:65536", "", "a b", "x..org")
    paths = ("", "/", "/a b", "/ä?q=ö", "/[a]", "/?a[]=1", "/#[", "/?q={x}|^", "/%zz", "?a", "#a")
    urls = [f"{scheme}//{host}{path}" for scheme in ("http:", "HTTPS:", "ftp:", "") for host in hosts for path in paths]
    urls += ["https:foo", "UNKNOWN", "", "mailto:a@example.org", "https:/example.org", "example.org"]
    assert [url for url in urls if is_web_url(url) is not warehouses(url)] == []


@pytest.mark.long
def test_addresses_and_names_are_judged_by_the_libraries_that_pypi_uses() -> None:
    words = ["a", "a.b", "a..b", ".a", "a.", "a+b", "a b", "a@b", "ä", "a_b", "a'b", "x" * 65, '"a"', "a,b", ""]
    domains = ["example.org", "example", "localhost", "a.local", "exa_mple.org", "-a.org", "a-.org", "1.2.3.4", "ä.org", "a.b.c"]
    domains += ["", "a.test", "a.invalid", "[1.2.3.4]", "example.org.", "a..org", "example.123", "x.arpa", "x" * 64 + ".org"]
    addresses = [f"{word}@{domain}" for word in words for domain in domains] + words
    script = (
        "import json, sys, email_validator, stdlib_list\n"
        "def good(address):\n"
        "    try: email_validator.validate_email(address, check_deliverability=False)\n"
        "    except email_validator.EmailNotValidError: return False\n"
        "    return True\n"
        "names = {n.partition('.')[0] for v in stdlib_list.short_versions for n in stdlib_list.stdlib_list(v)}\n"
        "print(json.dumps([[good(a) for a in json.load(sys.stdin)], sorted(names)]))\n"
    )
    libraries = tools("email-validator==2.4.0", "stdlib-list==0.12.0")
    judged, names = json.loads(run_python(script, libraries, json.dumps(addresses)))
    assert [each for each, good in zip(addresses, judged, strict=True) if is_email(each) is not good] == []
    assert {canonicalize_name(name.strip("-_.")) for name in names} - standard_library_names() == set()


def test_the_verdict_of_the_command(tmp_path: Path) -> None:
    good, bad = wheel(tmp_path), wheel(tmp_path / "bad", "py3-none-any", "Requires-Dist: demo @ https://example.org/demo.zip")
    done = command.run("audit", good, bad, "--for", "pypi", "--json")
    rows = json.loads(done.stdout)["results"]
    assert (done.returncode, [row["accepted"] for row in rows], {row["index"] for row in rows}) == (1, [True, False], {"pypi"})
    (finding,) = rows[1]["findings"]
    assert (finding["code"], finding["severity"], finding["module"]) == ("pypi-direct-reference", "upload", f"{INFO}/METADATA")
    assert (rows[1]["ok"], rows[1]["verdict"]) == (False, "runs")
    done = command.run("audit", good, bad, "--for", "pypi", "--fail-on", "load")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].endswith("; PyPI takes it")
    assert done.stdout.splitlines()[1].endswith("; PyPI refuses it (1 upload)")
    assert "has a URL, and PyPI takes names alone" in done.stderr
    assert command.run("audit", good, bad).returncode == 0
    assert audit(good).accepted is None
