"""verify makes a wheel again from the packages that it names: what is so is identical, and what is not is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from conda2wheel import Converted, Refused, convert, repair, verify
from conda2wheel.commands.verify import Verified
from conda2wheel.errors import Failed
from tests.helpers import command, conda, installed, zig
from tests.helpers.foreign import unvendored
from tests.helpers.shapes import MODULE, SUFFIX, dist_info, package
from tests.unit.link.test_linker import chain_packages, library, python
from tests.unit.wheel.test_provenance import told

INFO = "pkg-1.0.dist-info"


@pytest.fixture
def packages() -> tuple[Path, Path, Path]:
    return chain_packages(zig.chain())


def converted(packages: Sequence[Path], out: Path, **options: Any) -> Path:
    result: Converted = convert(packages[0], out=out, libdirs=packages[1:], **options)
    assert result.wheel is not None
    return result.wheel


def rewritten(wheel: Path, changes: Mapping[str, bytes | None], *, name: str | None = None) -> Path:
    """The wheel with members changed, added or (None) gone, under its own name in another folder."""
    target = wheel.parent / "changed" / (name or wheel.name)
    target.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel) as before, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as after:
        for entry in before.infolist():
            data = changes.get(entry.filename, before.read(entry))
            if data is not None:
                after.writestr(entry, data)
        for path, data in changes.items():
            if data is not None and path not in before.namelist():
                after.writestr(path, data)
    return target


def differences(result: Verified) -> dict[str, str]:
    assert not result.identical
    return {each.member: each.what for each in result.differences}


def test_a_wheel_is_made_again_from_its_packages_byte_for_byte(packages: tuple[Path, ...], tmp_path: Path) -> None:
    result = verify(converted(packages, tmp_path), packages)
    assert (result.identical, result.differences, result.sha256 == result.replayed) == (True, (), True)
    assert [text.partition(" ")[0] for text in result.packages] == [packages[n].name for n in (0, 2, 1)]


@pytest.mark.parametrize("form", ["a folder among others", "renamed"])
def test_packages_are_known_by_their_hash(form: str, packages: tuple[Path, ...], tmp_path: Path) -> None:
    wheel = converted(packages, tmp_path)
    folder = tmp_path / "pkgs"
    folder.mkdir()
    for n, path in enumerate(packages):
        shutil.copyfile(path, folder / (path.name if form != "renamed" else f"{n}.tar.bz2"))
    newer = library("libcount", {"lib/libcount.so.1": zig.chain("314").count}, version="9.0")
    shutil.copyfile(newer, folder / newer.name)  # a better one, which it was not made of
    assert verify(wheel, [folder]).identical


OPTIONS: list[dict[str, Any]] = [
    {"isolate": False},
    {"provided": False},
    {"level": 1},
    {"compat_tags": True},
    {"platform": "pyemscripten_2025_0_wasm32"},
    {"platform": "0.28.3"},
    {"allow": ["unresolved-symbol"]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_are_replayed(options: dict[str, Any], packages: tuple[Path, ...], tmp_path: Path) -> None:
    plain = converted(packages, tmp_path / "plain")
    wheel = converted(packages, tmp_path / "other", **options)
    assert wheel.read_bytes() != plain.read_bytes()
    assert verify(wheel, packages).identical


def test_the_time_that_somebody_set_is_replayed_whatever_is_set_now(
    packages: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    wheel = converted(packages, tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1100000000")
    assert verify(wheel, packages).identical
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert verify(wheel, packages).identical


def test_a_library_that_was_left_out_must_be_there_too(tmp_path: Path) -> None:
    library_ = zig.shared_library("libz.so", "const char *zlibVersion(void) { return 0; }", exports=["zlibVersion"])
    code = zig.extension("_x", {"go": zig.integer("zlibVersion() != 0")}, declarations="extern const char *zlibVersion(void);")
    module = zig.side_module("_x", code, needed=["libz.so"])
    source = python({"pkg/__init__.py": "", f"pkg/{module.name}": module})
    zlib = library("zlib", {"lib/libz.so": library_})
    wheel = converted([source, zlib], tmp_path)
    assert [each["name"] for each in told(wheel)["provided"]] == ["libz.so"]
    assert verify(wheel, [source, zlib]).identical
    with pytest.raises(Failed, match=rf"sources {zlib.name} \(sha256 "):
        verify(wheel, [source])


def test_a_changed_added_or_missing_member_is_named(packages: tuple[Path, ...], tmp_path: Path) -> None:
    wheel = converted(packages, tmp_path)
    top = zig.chain().package()
    with zipfile.ZipFile(wheel) as archive:
        module = bytearray(archive.read(next(iter(top))))
    module[-1] ^= 1
    changed = rewritten(wheel, {next(iter(top)): bytes(module), "pkg/evil.py": b"import os\n", "pkg/sub/__init__.py": None})
    assert differences(verify(changed, packages)) == {
        next(iter(top)): "bytes",
        "pkg/evil.py": "added",
        "pkg/sub/__init__.py": "missing",
    }


def test_an_account_that_lies_about_its_members_or_options_is_named(packages: tuple[Path, ...], tmp_path: Path) -> None:
    wheel = converted(packages, tmp_path)
    account = told(wheel)
    for change, expected in (
        ({"members": {**account["members"], "pkg/__init__.py": {"source": None}}}, {f"{INFO}/conda2wheel.json"}),
        ({"overrides": [{"code": "x"}]}, {f"{INFO}/conda2wheel.json"}),
        ({"options": {**account["options"], "isolate": False}}, {f"{INFO}/conda2wheel.json", *zig.chain().package()}),
    ):
        lie = rewritten(wheel, {f"{INFO}/conda2wheel.json": json.dumps({**account, **change}, indent=1).encode()})
        found = verify(lie, packages)
        assert differences(found).keys() >= expected
        (message,) = (each.message for each in found.differences if each.member.endswith("conda2wheel.json"))
        assert next(iter(change)) in message or "options" in change


def test_a_wheel_that_was_only_packed_again_says_so(packages: tuple[Path, ...], tmp_path: Path) -> None:
    wheel = converted(packages, tmp_path)
    assert differences(verify(rewritten(wheel, {}), packages)) == {wheel.name: "framing"}


def test_a_wheel_under_another_name_says_so(packages: tuple[Path, ...], tmp_path: Path) -> None:
    wheel = converted(packages, tmp_path)
    other = tmp_path / wheel.name.replace("2025_0", "2026_0")
    shutil.copyfile(wheel, other)
    assert differences(verify(other, packages)) == {other.name: "name"}


def test_a_package_that_is_not_there_is_named_with_its_hash(packages: tuple[Path, ...], tmp_path: Path) -> None:
    wheel = converted(packages, tmp_path)
    with pytest.raises(Failed, match=rf"sources {packages[1].name} \(sha256 \w{{64}}\) are not in --from") as caught:
        verify(wheel, [packages[0], packages[2]])
    assert caught.value.code == "not-found"
    spoiled = conda.repack(packages[1], {"lib/more.txt": "x"})  # the same name, other bytes
    with pytest.raises(Failed, match="are not in --from"):
        verify(wheel, [packages[0], spoiled, packages[2]])


def test_a_wheel_that_conda2wheel_did_not_make_has_nothing_to_replay(tmp_path: Path) -> None:
    wheel = unvendored(zig.chain(), "313", "pyemscripten_2025_0_wasm32").write(tmp_path)
    with pytest.raises(Failed, match=r"it has no conda2wheel\.json"):
        verify(wheel, [tmp_path])


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"command": "mirror"},
        {"command": "repair"},
        {"tool": {"name": "other", "version": "1"}},
        {"tool": 4},
        {"sources": []},
        {"sources": [{"kind": "folder"}]},
        {"sources": [[1]]},
        {"sources": 7},
        {"options": None},
        {"options": {"level": 6}},
        {"level": 99},
        {"allow": ["everything"]},
        {"platform": "win32"},
        {"isolate": "yes"},
        {"source_date_epoch": "now"},
    ],
    ids=str,
)
def test_an_account_that_nobody_can_replay_is_refused(change: dict[str, Any], packages: tuple[Path, ...], tmp_path: Path) -> None:
    wheel = converted(packages, tmp_path)
    account = told(wheel)
    (key,) = change
    new = (
        {**account, **change}
        if key in account and key != "platform"
        else {**account, "options": {**account["options"], **change}}
    )
    with pytest.raises(Refused, match=r"conda2wheel\.json cannot be replayed") as caught:
        verify(rewritten(wheel, {f"{INFO}/conda2wheel.json": json.dumps(new).encode()}), packages)
    assert caught.value.code == "corrupt-archive"


def test_a_replay_that_is_refused_is_a_difference(tmp_path: Path) -> None:
    code = zig.extension("_demo", {"go": zig.integer("nobody_has_this()")}, declarations="extern int nobody_has_this(void);")
    files: conda.Files = {f"demo/_demo{SUFFIX}": zig.side_module("_demo", code)}
    source = package({**MODULE, **dist_info("demo-1.0"), **files})
    assert verify(converted([source], tmp_path / "warned"), [source]).identical
    wheel = converted([source], tmp_path, allow=["unresolved-symbol"], strict=True)
    assert verify(wheel, [source]).identical
    account = told(wheel)
    hidden = {**account, "options": {**account["options"], "allow": []}, "overrides": []}
    lie = rewritten(wheel, {"demo-1.0.dist-info/conda2wheel.json": json.dumps(hidden, indent=1).encode()})
    (difference,) = verify(lie, [source]).differences
    assert "the replay is refused: unresolved-symbol" in difference.message


def test_what_an_environment_and_a_channel_said_is_taken_as_told(tmp_path: Path) -> None:
    module = zig.side_module("_x", zig.extension("_x", {"go": zig.integer("1")}))
    made = installed.empack_targz("mod", "1.0", "h1_0", {f"lib/python3.13/site-packages/{module.name}": module}, record=None)
    folder = installed.empack_env(tmp_path / "env", [made], listed=[("emscripten-abi", "4.0.9", "h_0")])
    wheel = converted([folder / made.name], tmp_path / "out")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copyfile(folder / made.name, alone / made.name)
    assert verify(wheel, [alone]).identical


@pytest.mark.parametrize("form", ["unpacked", "prefix"])
def test_packages_that_lie_unpacked_are_known_by_name_version_and_build(
    form: str, packages: tuple[Path, ...], tmp_path: Path
) -> None:
    if form == "unpacked":
        places = [conda.unpack(path) for path in packages]
        wheel = converted(places, tmp_path / "out")
    else:
        prefix = installed.prefix(tmp_path / "env", packages)
        result = convert(prefix / "conda-meta" / "pkg-1.0-py313h1234567_0.json", out=tmp_path / "out", libdirs=[prefix])
        assert result.wheel is not None
        places, wheel = [prefix], result.wheel
    assert verify(wheel, places).identical


def test_libraries_of_a_folder_that_is_no_package_are_found_there_again(packages: tuple[Path, ...], tmp_path: Path) -> None:
    conda.lay(tmp_path / "env", {"lib/libcount.so.1": zig.chain().count, "lib/libbase.so": zig.chain().base})
    result: Converted = convert(packages[0], out=tmp_path / "out", libdirs=[tmp_path / "env"])
    (tmp_path / "env").rename(tmp_path / "moved")
    assert result.wheel is not None
    assert verify(result.wheel, [packages[0], tmp_path / "moved"]).identical
    assert "missing-library" in verify(result.wheel, [packages[0]]).differences[0].message


def test_a_repaired_wheel_is_made_again_from_the_wheel_that_it_was(packages: tuple[Path, ...], tmp_path: Path) -> None:
    wheel = unvendored(zig.chain(), "313", "pyodide_2025_0_wasm32").write(tmp_path)
    result = repair(wheel, out=tmp_path / "out", libdirs=packages[1:], isolate=False)
    assert result.wheel is not None
    assert verify(result.wheel, [wheel, *packages[1:]]).identical
    renamed = tmp_path / "other-1.0-py3-none-any.whl"
    shutil.copyfile(wheel, renamed)
    assert verify(result.wheel, [renamed, *packages[1:]]).identical
    with pytest.raises(Failed, match=f"sources {wheel.name}"):
        verify(result.wheel, packages[1:])


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return command.run("verify", *arguments)


def test_the_command_says_identical_or_different_and_why(packages: tuple[Path, ...], tmp_path: Path) -> None:
    wheel = converted(packages, tmp_path)
    bad = rewritten(wheel, {"pkg/evil.py": b""})
    given = [argument for path in packages for argument in ("--from", path)]
    done = run(wheel, *given)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"identical {wheel}\n", "")
    done = run(wheel, bad, tmp_path / "none-1.0-py3-none-any.whl", *given)
    assert (done.returncode, done.stdout.splitlines()) == (1, [f"identical {wheel}", f"different {bad}"])
    assert "pkg/evil.py: added: the replay has no such member" in done.stderr
    assert "error: not-found: " in done.stderr
    done = run(wheel, bad, "--json", *given)
    document = json.loads(done.stdout)
    assert [each["status"] for each in document["results"]] == ["verified", "different"]
    assert document["results"][1]["differences"][0].keys() == {"member", "what", "message"}
    assert document["results"][0]["sha256"] == document["results"][0]["replayed"]


@pytest.mark.parametrize("arguments", [["x.whl"], ["x.whl", "--from", "/not/there"], ["--from", "."]])
def test_a_wrong_command_line_is_told(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2
