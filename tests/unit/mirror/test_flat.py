"""A flat store keeps the contract of every store, in two folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.flat import FlatStore
from conda2wheel.mirror.store.folder import FolderStore
from conda2wheel.mirror.store.open import open_store
from tests.unit.mirror import test_store as contract

CONTRACT = [
    contract.test_objects_are_written_whole_and_missing_ones_are_none,
    contract.test_of_many_concurrent_put_new_one_succeeds,
    contract.test_of_many_concurrent_put_if_one_succeeds,
    contract.test_an_existing_blob_is_not_written_again,
    contract.test_lists_have_only_objects_below_the_folder,
    contract.test_deleting_removes_only_the_given_objects,
    contract.test_a_store_can_be_pickled,
]


@pytest.mark.parametrize("holds", CONTRACT, ids=lambda each: each.__name__)
def test_the_contract_of_stores(holds: Callable[[Store], None], tmp_path: Path) -> None:
    holds(open_store(f"flat:{tmp_path / 'public'}"))


def test_what_is_not_for_readers_is_in_another_folder(tmp_path: Path) -> None:
    store = open_store(f"flat:{tmp_path / 'public'}")
    paths = ["current.json", "generations/000001-abc/generation.json", "blobs/ab/x.whl", "simple/index.html", "lock.json"]
    for path in paths:
        assert store.put_new(path, path.encode())
    assert {path.name for path in (tmp_path / "public").iterdir()} == {"blobs", "simple", ".nojekyll"}
    assert sorted(info.path for info in store.list()) == sorted(paths)
    assert store.folders() == ("blobs", "generations", "simple")
    assert not store.set_link("current", "generations/000001-abc")
    again = open_store(str(tmp_path / "public"))
    assert isinstance(again, FlatStore)
    assert again.get("current.json") == b"current.json"
    store.delete(paths)
    assert list(store.list()) == []


def test_a_folder_that_becomes_flat_keeps_its_generations(tmp_path: Path) -> None:
    before = open_store(str(tmp_path / "public"))
    assert type(before) is FolderStore
    for path in ("generations/000001-abc/generation.json", "current.json", "simple/index.html"):
        before.put(path, path.encode())
    after = open_store(f"flat:{tmp_path / 'public'}")
    assert after.get("generations/000001-abc/generation.json") == b"generations/000001-abc/generation.json"
    assert sorted(path.name for path in (tmp_path / "public").iterdir()) == [".nojekyll", "simple"]
