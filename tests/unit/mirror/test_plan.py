"""Plans: everything new, nothing that is done, and every skipped package with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.channels.downloads import Downloads
from conda2wheel.mirror.config import MirrorConfig, SelectConfig, load
from conda2wheel.mirror.plan.select import class_of, list_packages, ranks, refused, select
from conda2wheel.mirror.plan.tasks import MirrorPlan, make_plan
from conda2wheel.mirror.state.mirror_state import MirrorState
from conda2wheel.mirror.state.model import ChannelPackage, ItemResult
from tests.helpers import channel4x
from tests.unit.mirror.test_state import NOW, done, failed, package


@pytest.fixture
def config(tmp_path: Path) -> MirrorConfig:
    (tmp_path / "mirror.toml").write_text('[channel]\nurls = ["emscripten-forge-4x"]\n[output]\nstore = "public"\n')
    return load(tmp_path / "mirror.toml")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[MirrorState]:
    with MirrorState.open(tmp_path / "mirror.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def listed() -> list[ChannelPackage]:
    """All packages of the test channel, listed as a run lists them."""
    return list_packages([channel4x.shared_channel().urls[0]], Downloads(cache=None)).packages


def run(listing: list[ChannelPackage], config: MirrorConfig, state: MirrorState, now: float = NOW) -> MirrorPlan:
    """Plan a run, and finish every item with a wheel."""
    made = make_plan(listing, config, state, now, state.record_listing(listing, now))
    for verdict in made.verdicts:
        state.finish(verdict, now)
    for task in made.to_do:
        state.finish(done(task.key, task.package.name), now)
    return made


def names(tasks: Any) -> list[str]:
    return [f"{task.package.name} {task.package.version}: {task.why}" for task in tasks]


def test_a_channel_is_listed_with_all_fields_of_its_packages(listed: list[ChannelPackage]) -> None:
    channel = channel4x.shared_channel()
    listing = {(each.name, each.version, each.build) for each in channel.builds}
    found = {(each.name, each.version, each.build) for each in listed}
    assert found == {each for each in listing if each[0] == each[0].lower()}  # py-rattler's Gateway finds no r-caTools
    assert len(listing - found) == 1
    numpy = next(each for each in listed if each.name == "numpy")
    assert numpy.url == f"{channel.urls[0]}/emscripten-wasm32/{numpy.stem}.tar.bz2"
    assert (numpy.channel, numpy.noarch) == (channel.urls[0], False)
    assert numpy.size == (channel.root / "emscripten-wasm32" / f"{numpy.stem}.tar.bz2").stat().st_size
    assert numpy.timestamp is not None
    assert 1.5e9 < numpy.timestamp < 2e9


def test_the_second_run_has_nothing_to_do_and_one_changed_package_is_one_item(
    listed: list[ChannelPackage], config: MirrorConfig, state: MirrorState
) -> None:
    first = run(listed, config, state)
    assert len(first.to_do) + len(first.verdicts) == len(first.wanted) == len(listed)
    second = run(listed, config, state, NOW + 1)
    assert (second.to_do, second.verdicts, second.unchanged) == ((), (), len(listed))
    numpy = next(each for each in listed if each.name == "numpy")
    other = dataclasses.replace(numpy, sha256="f" * 64)
    third = run([other if each is numpy else each for each in listed], config, state, NOW + 2)
    assert names(third.to_do) == [f"numpy {numpy.version}: changed"]
    assert third.changes.changed == (other,)


def test_a_patch_of_repodata_converts_nothing(listed: list[ChannelPackage], config: MirrorConfig, state: MirrorState) -> None:
    run(listed, config, state)
    patched = [dataclasses.replace(each, depends=(*each.depends, "six"), record="patched") for each in listed]
    made = run(patched, config, state, NOW + 1)
    assert (made.to_do, made.verdicts, len(made.changes.patched)) == ((), (), len(listed))


def test_the_next_run_continues_an_interrupted_one(config: MirrorConfig, state: MirrorState) -> None:
    """Items that are not done are due, though the listing has no more changes."""
    listing = [package("one"), package("two"), package("three")]
    first = make_plan(listing, config, state, NOW, state.record_listing(listing, NOW))
    assert names(first.to_do) == ["one 1.0: new", "three 1.0: new", "two 1.0: new"]
    keys = [task.key for task in first.to_do]
    state.add_items(keys)
    state.finish(done(keys[0]), NOW)
    state.start(keys[1], NOW)
    state.reset_interrupted()
    assert names(make_plan(listing, config, state, NOW + 1).to_do) == [
        "two 1.0: not done yet",
        "three 1.0: interrupted when a run was killed",
    ]


def test_failed_items_wait_and_then_come_last(config: MirrorConfig, state: MirrorState) -> None:
    listing = [package("poison", size=99), package("good", size=1), package("dead")]
    first = make_plan(listing, config, state, NOW, state.record_listing(listing, NOW))
    by_name = {task.package.name: task.key for task in first.to_do}
    state.finish(failed(by_name["poison"]), NOW)
    state.finish(failed(by_name["dead"], "internal"), NOW, tries=1)
    soon = make_plan(listing, config, state, NOW + 1)
    assert names(soon.to_do) == ["good 1.0: new"]
    assert names(soon.waiting) == ["poison 1.0: failed 1 times (network)"]
    assert [task.package.name for task in soon.quarantined] == ["dead"]
    later = make_plan(listing, config, state, NOW + 1e6)
    assert names(later.to_do) == ["good 1.0: new", "poison 1.0: failed 1 times (network)"]


def test_a_plan_writes_nothing(config: MirrorConfig, state: MirrorState) -> None:
    make_plan([package("one")], config, state, NOW)
    assert (state.packages(), state.items()) == ([], {})


def test_new_options_convert_the_packages_again_that_they_concern(config: MirrorConfig, state: MirrorState) -> None:
    listing = [package("one"), package("two")]
    run(listing, config, state)
    recipe = dataclasses.replace(config, recipes=(*config.recipes, ("two", '{"package": "two", "why": "w"}')))
    assert names(run(listing, recipe, state).to_do) == ["two 1.0: another converter, options or platform"]
    level = dataclasses.replace(config, convert=dataclasses.replace(config.convert, level=9))
    assert len(run(listing, level, state).to_do) == 2


def test_each_platform_is_an_item_except_for_noarch_packages(config: MirrorConfig, state: MirrorState) -> None:
    both = dataclasses.replace(config, platforms=("pyodide_2024_0", "pyodide_2025_0"))
    made = make_plan([package("one"), package("pure", subdir="noarch", noarch=True)], both, state, NOW)
    assert sorted((task.package.name, task.key.platform) for task in made.to_do) == [
        ("one", "pyodide_2024_0"),
        ("one", "pyodide_2025_0"),
        ("pure", "pyodide_2024_0"),
    ]


def test_a_refusal_for_a_missing_library_is_retried_when_the_library_appears(config: MirrorConfig, state: MirrorState) -> None:
    user, other = package("user", depends=("python", "libgeos >=3")), package("other", depends=("python", "libgone"))
    listing = [user, other]
    for task in make_plan(listing, config, state, NOW, state.record_listing(listing, NOW)).to_do:
        state.finish(ItemResult(task.key, "refused", "missing-library", "libgeos.so is nowhere"), NOW)
    listing.append(package("libgeos"))
    state.record_listing(listing, NOW + 1)
    made = make_plan(listing, config, state, NOW + 1)  # as after a kill: the listing has no more changes
    assert names(made.to_do) == ["libgeos 1.0: new", "user 1.0: not done yet"]


def test_the_newest_versions_come_first_and_the_largest_of_them(config: MirrorConfig, state: MirrorState) -> None:
    listing = [
        package("small", "1.0", size=1),
        package("large", "1.9", size=50),
        package("large", "1.10", size=10),
        package("middle", "2", size=5),
    ]
    made = make_plan(listing, config, state, NOW)
    order = [f"{task.package.name} {task.package.version}" for task in made.to_do]
    assert order == ["large 1.10", "middle 2", "small 1.0", "large 1.9"]
    assert made.to_do == make_plan(listing[::-1], config, state, NOW).to_do
    assert made.bytes == 66


def kept(listing: list[ChannelPackage], **options: Any) -> tuple[list[str], dict[str, str]]:
    chosen, left = select(listing, SelectConfig(**options))
    return [each.url.rpartition("/")[2] for each in chosen], {each.url.rpartition("/")[2]: why for each, why in left}


def test_newest_versions_and_builds() -> None:
    listing = [package("a", version) for version in ("1.9", "1.10", "1.10.0", "2.0rc1")]
    builds = [
        package("b", "1", build=f"py{python}h_{number}", build_number=number, url=f"https://c/b-{python}-{number}.conda")
        for python in ("312", "313")
        for number in (0, 1)
    ]
    chosen, left = kept([*listing, *builds], versions=2, builds=1)
    assert chosen == ["a-2.0rc1-h0_0.conda", "a-1.10.0-h0_0.conda", "a-1.10-h0_0.conda", "b-313-1.conda", "b-312-1.conda"]
    assert left["a-1.9-h0_0.conda"] == "not among the 2 newest versions"
    assert left["b-313-0.conda"] == "not among the 1 newest builds of its version"
    assert len(kept([*listing, *builds], versions=0, builds=0)[0]) == 8


def test_versions_that_conda_cannot_parse_are_the_oldest() -> None:
    assert ranks([package("a", version) for version in ("1.0", "1.0.0", "0.9", "@@@")]) == {
        "1.0": 2,
        "1.0.0": 2,
        "0.9": 1,
        "@@@": 0,
    }


def test_include_and_exclude_are_match_specs() -> None:
    listing = [package("numpy", "1.26"), package("numpy", "2.4"), package("passagemath-gap"), package("six")]
    chosen, left = kept(listing, include=("numpy >=2", "passagemath-*"), exclude=("passagemath-g*",))
    assert chosen == ["numpy-2.4-h0_0.conda"]
    assert left["six-1.0-h0_0.conda"] == "not among [select] include"
    assert left["passagemath-gap-1.0-h0_0.conda"] == "excluded"


def test_a_build_in_several_formats_and_channels_is_selected_once() -> None:
    one = package("a")
    same = dataclasses.replace(one, url=one.url.replace(".conda", ".tar.bz2"))
    elsewhere = dataclasses.replace(one, channel="https://example.org/d", sha256="e" * 64)
    chosen, left = select([same, one, elsewhere], SelectConfig())
    assert chosen == [one]
    assert [why.partition(" as ")[0] for _, why in left] == ["the same build"] * 2


def test_repodata_never_exclude_a_package_that_may_be_python(listed: list[ChannelPackage]) -> None:
    """Repodata of python-xxhash and others do not mention Python: every Python package of the channel is selected."""
    pythons = {(each.name, each.version) for each in channel4x.shared_channel().builds if each.kind == "python"}
    chosen = {(each.name, each.version) for each in select(listed, SelectConfig())[0] if refused(each) is None}
    assert len(pythons) > 150
    bound = {"fps-kernel-web-worker", "httpx2-jsfetch"}  # to emscripten-forge's own main module
    assert {name for name, version in pythons if (name, version) not in chosen} == bound
    silent = package("python-xxhash", build="h7223423_0", depends=())
    assert class_of(silent) == "maybe"
    assert class_of(package("x", build="np23py313h1a2f9be_1", depends=())) == "python"
    assert class_of(package("happy", build="h0_0", depends=())) == "maybe"
    assert kept([silent], classes=("python",))[1] == {silent.url.rpartition("/")[2]: "its class is maybe"}


def test_packages_refused_by_name_are_not_downloaded(
    listed: list[ChannelPackage], config: MirrorConfig, state: MirrorState
) -> None:
    made = make_plan(listed, config, state, NOW)
    codes = {made.wanted[each.key].name: each.code for each in made.verdicts}
    assert codes["r-base"] == "not-python"
    assert (codes["python"], codes["xeus-python"]) == ("interpreter", "interpreter")
    assert len(codes) > 150
    assert not {task.package.name for task in made.to_do} & codes.keys()
