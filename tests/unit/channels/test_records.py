"""Records that cannot be used are left out and named, in every form of list; the others are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from conda2wheel.bundle.solver import solve
from conda2wheel.channels import records
from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.lists import PackageList
from conda2wheel.channels.repodata import all_records, channel_url, package_names
from conda2wheel.channels.search import find
from conda2wheel.conda import parsing
from conda2wheel.errors import Failed
from conda2wheel.mirror.plan.select import list_packages
from conda2wheel.net.urls import Address
from tests.helpers import lists
from tests.helpers.served import serve

ONLY_RATTLER = {"m-1-0.conda"}  # it reads only the records that are asked for
LATIN = {"u-1-0.conda"}  # msgpack has no lone surrogates, so its shard is none


@pytest.mark.parametrize("form", lists.FORMS)
def test_one_odd_record_leaves_the_others(form: str, tmp_path: Path) -> None:
    listed = lists.odd_records()
    if form == "sharded":
        listed = {name: record for name, record in listed.items() if name not in LATIN}
    with serve(lists.channel(tmp_path / "channel", form, listed)) as served:
        read = all_records(served.url, Downloads())
        assert [record.file_name for record in read.records] == ["spam-1.0-h_0.conda"]
        assert {each.filename for each in read.left_out} == listed.keys() - {"spam-1.0-h_0.conda"}
        for each in read.left_out:
            assert lists.ODD[each.filename][1] in each.why, each
            assert (each.channel, each.subdir) == (served.url, "emscripten-wasm32")
        downloads = Downloads()
        assert find("spam", [served.url], downloads).url == f"{served.url}/emscripten-wasm32/spam-1.0-h_0.conda"
        named = {each.filename for each in downloads.left_out([served.url])}
        assert named == (set() if form == "sharded" else lists.ODD.keys() - ONLY_RATTLER)
        assert "spam" in package_names(served.url, Downloads())


def test_a_folder_lists_them_too_and_a_record_without_sha256_is_named_in_a_mirror(tmp_path: Path) -> None:
    bare = {key: value for key, value in lists.SOUND.items() if key != "sha256"}
    root = lists.channel(tmp_path, "plain", {"spam-1.0-h_0.conda": lists.SOUND, "eggs-1.0-h_0.conda": {**bare, "name": "eggs"}})
    found = list_packages([str(root)], Downloads())
    assert [each.name for each in found.packages] == ["spam"]
    assert [str(each) for each in found.left_out] == ["emscripten-wasm32/eggs-1.0-h_0.conda: it has no sha256"]
    assert find("eggs", [str(root)]).sha256 is None  # one package by its name is found by its address


def test_a_request_for_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    root = str(lists.channel(tmp_path, "plain", lists.odd_records()))
    with pytest.raises(Failed, match=r"x-1\.0\.\.!-0\.tar\.bz2: malformed version") as caught:
        find("x", [root], Downloads())
    assert caught.value.code == "not-found"
    from conda2wheel.abi.platforms import parse

    platform = parse("0.29.5")
    assert platform is not None
    with pytest.raises(Failed, match="malformed version"):
        solve(["x"], [root], platform, Downloads())


def test_a_warning_names_three_records_and_counts_all(tmp_path: Path) -> None:
    root = lists.channel(tmp_path, "plain", lists.odd_records())
    (warning,) = records.left_out_warnings(all_records(root.as_uri(), Downloads()).left_out)
    assert warning.code == "channel-record"
    assert warning.message.startswith(f"{len(lists.ODD)} records of {root.as_uri()} cannot be used: ")
    assert warning.message.count("emscripten-wasm32/") == records.NAMED
    assert len(warning.message) < 1000


def test_what_only_py_rattler_finds_is_found_in_halves() -> None:
    names = [f"p{number}" for number in range(300)]
    bad = {"p17", "p18", "p250"}
    documents: dict[str, dict[str, dict[str, Any]]] = {
        name: {f"{name}-1-0.conda": {**lists.SOUND, "name": name, "md5": "zz" if name in bad else "0" * 32}} for name in names
    }
    read = records.read(Address("https://host/c"), PackageList("emscripten-wasm32", Address("https://host/c/x"), documents))
    assert {each.filename for each in read.left_out} == {f"{name}-1-0.conda" for name in bad}
    assert len(read.records) == len(names) - len(bad)


def test_a_list_is_judged_once_and_its_records_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a mirror's worker ask for some names each: what that costs does not grow with the channel."""
    names = [f"p{number}" for number in range(40)]
    own = {f"{name}-{version}-0.conda": {**lists.SOUND, "name": name, "version": version} for name in names for version in "12"}
    root = str(lists.channel(tmp_path, "plain", {**own, **lists.odd_records()}))
    judge, make = mock.Mock(wraps=records.problem), mock.Mock(wraps=parsing.read_records)
    monkeypatch.setattr(records, "problem", judge)
    monkeypatch.setattr(records, "read_records", make)
    downloads = Downloads(fresh=600)
    found = [find(name, [root], downloads).url for name in ("p1", "p2")]
    first = judge.call_count, make.call_count, downloads.left_out([channel_url(root)])
    assert [find(name, [root], downloads).url for name in ("p1", "p2")] == found
    assert (judge.call_count, make.call_count, downloads.left_out([channel_url(root)])) == first
    assert find("p3=1", [root], downloads).url.endswith("p3-1-0.conda")
    assert judge.call_count == first[0] + 2  # its records; those of the list are known
    assert len(first[2]) == len(lists.ODD) - len(ONLY_RATTLER)


def test_records_that_a_list_gets_later_are_read(tmp_path: Path) -> None:
    listed = PackageList("emscripten-wasm32", Address("https://host/c/x"))
    assert records.read(Address("https://host/c"), listed, ["p"]).records == ()
    assert records.problems(listed) == {}
    listed.records["p"] = {"p-1-0.conda": {**lists.SOUND, "name": "p"}, "p-2.conda": {**lists.SOUND, "name": "p"}}
    read = records.read(Address("https://host/c"), listed, ["p"])
    assert [each.file_name for each in read.records] == ["p-1-0.conda"]
    assert [each.filename for each in read.left_out] == [*records.problems(listed)] == ["p-2.conda"]


def test_of_very_many_odd_records_the_first_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MAX_ODD", 5)
    documents = {f"p{n}": {f"p{n}-1-0.conda": {**lists.SOUND, "name": f"p{n}", "md5": "zz"}} for n in range(100)}
    read = records.read(Address("https://host/c"), PackageList("emscripten-wasm32", Address("https://host/c/x"), documents))
    assert len(read.left_out) == 100
    assert sum("it was not read" in each.why for each in read.left_out) == 95


def test_a_number_of_thousands_of_digits_is_one_odd_record(tmp_path: Path) -> None:
    root = lists.channel(tmp_path, "plain", {**lists.odd_records()})
    path = root / "emscripten-wasm32" / "repodata.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document).replace('"size": 1', f'"size": {"9" * 5000}', 1))
    assert "spam-1.0-h_0.conda" in {each.filename for each in all_records(root.as_uri(), Downloads()).left_out} | {
        record.file_name for record in all_records(root.as_uri(), Downloads()).records
    }
