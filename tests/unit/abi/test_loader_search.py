"""Where the loaders look for a library, in folders that are given by their files alone."""

from __future__ import annotations

import pytest

from conda2wheel.abi.loader_search import SitePackages, finds, read_runtime_path, search_order
from conda2wheel.abi.platforms import Platform, for_emscripten, for_pyodide

FILES = frozenset({"demo/_demo.so", "demo.libs/libx.so", "demo/lib/liby.so", "libtop.so"})


def platform(pyodide: str) -> Platform:
    found = for_pyodide(pyodide)
    assert found is not None
    return found


def find(name: str, *runtime_path: str, pyodide: str = "314.0.7") -> str | None:
    site = SitePackages(platform(pyodide), FILES)
    path = site.find(name, site.absolute("demo"), runtime_path)
    return None if path is None else path.removeprefix(f"{site.root}/")


def test_site_packages_comes_before_runtime_path() -> None:
    assert find("libtop.so") == "libtop.so"
    assert find("libx.so") is None
    assert find("libx.so", "$ORIGIN/../demo.libs") == "demo/../demo.libs/libx.so"
    assert find("liby.so", "/lib/python3.14/site-packages/demo/lib") == "demo/lib/liby.so"


@pytest.mark.parametrize(
    "entry", ["${ORIGIN}/lib", "lib", "$ORIGIN/nowhere:$ORIGIN/lib", "/$ORIGIN/lib", f"$ORIGIN/{'lib/../' * 80}lib"]
)
def test_an_entry_in_another_form_or_too_long_leads_nowhere(entry: str) -> None:
    assert find("liby.so", entry) is None


def test_a_name_with_a_slash_is_not_searched_for_and_an_absolute_one_is_taken_as_it_is() -> None:
    assert find("lib/liby.so", "$ORIGIN") is None
    assert find("/lib/python3.14/site-packages/demo/lib/liby.so") == "demo/lib/liby.so"
    assert find("/lib/python3.14/site-packages/demo/liby.so") is None


def test_entries_are_split_at_colons_after_the_first_origin_is_replaced() -> None:
    assert read_runtime_path(["$ORIGIN/a:/b:c", "/d\n/e"], "/site/pkg") == ["/site/pkg/a", "/b", "/d", "/e"]


@pytest.mark.parametrize(("subfolders", "found"), [(True, "demo/lib/liby.so"), (False, None)])
def test_older_loaders_look_in_fixed_folders(subfolders: bool, found: str | None) -> None:
    site = SitePackages(platform("0.27.7"), FILES)

    def find_from(name: str) -> str | None:
        path = site.find_from(name, "demo", "demo", subfolders)
        return None if path is None else site.relative(path)

    assert [find_from(name) for name in ("libx.so", "libtop.so", "_demo.so")] == [
        "demo.libs/libx.so",
        "libtop.so",
        "demo/_demo.so",
    ]
    assert find_from("liby.so") == found


def test_a_path_that_is_not_normalised_counts_only_where_the_loader_normalises_it() -> None:
    entries = ["$ORIGIN/../demo.libs"]
    assert finds(entries, "demo", "demo.libs/libx.so", FILES, platform("314.0.7"))
    assert not finds(entries, "demo", "demo.libs/libx.so", FILES, platform("0.29.5"))
    assert finds(["/lib/python3.13/site-packages/demo.libs"], "demo", "demo.libs/libx.so", FILES, platform("0.29.5"))


def test_a_library_is_not_found_behind_another_one_of_its_name() -> None:
    files = {*FILES, "libx.so", "demo/lib/libx.so"}
    assert not finds(["$ORIGIN/../demo.libs"], "demo", "demo.libs/libx.so", files, platform("314.0.7"))
    assert finds((), "demo", "libx.so", files, platform("314.0.7"))
    files.remove("libx.so")
    assert not finds(["$ORIGIN/lib", "$ORIGIN/../demo.libs"], "demo", "demo.libs/libx.so", files, platform("314.0.7"))


def test_a_platform_without_a_pyodide_has_a_site_packages_as_well() -> None:
    row = for_emscripten("4.0.20")
    assert finds((), "demo", "libtop.so", FILES, row)
    assert finds(["$ORIGIN/lib"], "demo", "demo/lib/liby.so", FILES, row)


def test_the_folders_that_an_entry_means_come_after_those_that_the_loader_reads() -> None:
    entries = ["${ORIGIN}/lib", "$ORIGIN/../demo.libs", "/usr/local/lib"]
    assert search_order(entries, "demo", "demo.libs", platform("314.0.7")) == ["", "demo.libs", "demo/lib", "demo.libs", "demo"]
    assert search_order(entries, "demo", "demo.libs", platform("0.27.7")) == ["demo.libs", "", "demo"]
