"""The lists of packages that a channel has for a subdir, in each form that channels serve, requested under the rules of packages.

    repodata_shards.msgpack.zst    CEP 16: the hash of a shard for each package name; a shard has the records of that name
    repodata.json.zst, .json       all records
    current_repodata.json          the newest records

py-rattler's Gateway reads these, too, but follows redirects to plain http, takes a `base_url` of any kind, does not compare the
hashes of shards, unpacks without a bound, and fails as a whole for one record that it cannot parse (`records`).

    CACHE/repodata/CHANNEL/SUBDIR.FORM    a line of JSON (what the server says of the version, the sha256 of the rest), the list
    CACHE/repodata/shards/SHA256          a shard
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from conda2wheel.errors import Failed, Refused
from conda2wheel.files.writing import replace_file
from conda2wheel.net.download import CONNECTIONS, FileRequests, UnreachableError, Validators
from conda2wheel.net.urls import Address, file_path, secret_url, steered

Subdir = Literal["emscripten-wasm32", "noarch"]
SHARDS = "repodata_shards.msgpack.zst"
PLAIN = ("repodata.json.zst", "repodata.json", "current_repodata.json")
FOLDER_FORMS = ("repodata.json", "repodata.json.zst", SHARDS, "current_repodata.json")  # people edit the first in their folders
TRIES = 2  # of a list that is damaged
MANY = 200  # names, for which the list of all is requested rather than a shard for each
MAX_DOWNLOAD = 256 << 20  # bytes of a list as it is served; conda-forge's largest has 40 MB as .zst
MAX_UNPACKED = 1 << 30
FREE = 64 << 20  # bytes that any list may unpack to; beyond that RATIO decides
RATIO = 100
MAX_SHARD = 10 << 20  # bytes, unpacked, of a shard and of a list of shards; conda-forge's have 2 MB
FREE_MEMORY = 400 << 20  # bytes that the values of any list may take; beyond that RATIO decides
FREE_RECORDS = 50_000  # that any list may have
RECORD = 20  # bytes of a list, as it is served, for each record beyond; conda-forge's have 50 as .zst
_WEIGHTS = {b"{": 240, b"[": 72, b",": 72}  # bytes of memory for the value that begins or ends there
_SHA256 = 32
_PIECE = 1 << 20
_OLD_CACHE = ("*.info.json", "*.shards-cache-v1", "shards-v1")  # of py-rattler; they have the addresses with passwords


class DamagedListError(Exception):
    """A list that cannot be used; another form of it may be sound."""


class NotCachedError(Exception):
    """A list that would have to be requested while offline."""


@dataclass
class PackageList:
    """The list of packages of a subdir.

    Attributes:
        base: the address below which its packages are.
        records: repodata's documents by file name, by package name, as far as they were read; their form is not checked.
        shards: the hash of each name's shard, for names that were not read; empty for the other forms.
        shards_base: the address below which the shards are.
        made: by name, the number of records that `records.read` read, and the `RecordsRead`.
        judged: the number of records that `records.problems` judged, and what it found.
    """

    subdir: Subdir
    base: Address
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    shards: dict[str, str] = field(default_factory=dict)
    shards_base: Address | None = None
    made: dict[str, tuple[int, Any]] = field(default_factory=dict, repr=False, compare=False)
    judged: tuple[int, dict[str, str]] | None = field(default=None, repr=False, compare=False)

    @property
    def names(self) -> list[str]:
        """The names of all packages, sorted."""
        return sorted({*self.records, *self.shards})


@dataclass(frozen=True)
class ChannelLists:
    """The lists of one channel.

    Attributes:
        channel: the channel's address.
        cache: the folder for lists of channels; None without a cache.
        offline: whether the network must not be used.
    """

    channel: Address
    cache: Path | None
    offline: bool = False

    def read(self, subdir: Subdir, names: Iterable[str] | None, known: PackageList | None = None) -> PackageList | None:
        """Read the records of these names, or of all.

        Args:
            subdir: the subdir.
            names: package names; None for all.
            known: what `read` returned before, which is completed.

        Returns:
            None if the channel has no such subdir.

        Raises:
            Failed: network, not-found, disk, unreadable.
        """
        wanted = None if names is None else set(names)
        requests = FileRequests()
        try:
            if known is not None and not (missing := _missing(known, wanted)):
                return known
            if known is not None and wanted is not None and len(missing) <= MANY:
                try:
                    self._read_shards(requests, known, missing)
                except UnreachableError as error:
                    raise self._unread(error) from None
                except (DamagedListError, NotCachedError, Failed) as error:
                    if isinstance(error, Failed) and error.code != "network":
                        raise
                else:
                    return known
            return self._read(requests, subdir, wanted)
        finally:
            requests.close()

    def _read(self, requests: FileRequests, subdir: Subdir, wanted: set[str] | None) -> PackageList | None:
        first = ""
        uncached = False
        for form in self._forms(subdir, wanted):
            for _ in range(1 if self.offline or self._is_folder else TRIES):
                try:
                    body = self._body(requests, subdir, form)
                    if body is None:
                        break
                    found = self._parse(subdir, form, body)
                    if missing := _missing(found, wanted):
                        self._read_shards(requests, found, missing)
                except DamagedListError as error:
                    first = first or str(error)
                    if not self.offline:
                        self._forget(subdir, form)
                except NotCachedError:
                    uncached = True
                except UnreachableError as error:
                    raise self._unread(error) from None
                except Failed as error:
                    if error.code != "network":
                        raise
                    first = first or error.message  # of other forms this server may answer with one
                    break
                else:
                    return found
        if first:
            raise Failed("network", f"cannot read {self.channel}: {first}", _HINT)
        if uncached:
            why = f"cannot read {self.channel}: no usable repodata cache"
            raise Failed("network", why, "run it once without --offline")
        return None

    def _forms(self, subdir: Subdir, wanted: set[str] | None) -> Sequence[str]:
        """Return the forms in the order in which they are tried: those that the channel had before come first."""
        if self._is_folder:
            return FOLDER_FORMS
        few = wanted is not None and len(wanted) <= MANY
        forms = (SHARDS, *PLAIN) if few else (*PLAIN, SHARDS)
        return sorted(forms, key=lambda form: (place := self._place(subdir, form)) is None or not place.exists())

    @property
    def _is_folder(self) -> bool:
        return secret_url(self.channel).startswith("file:")

    # Lists

    def _body(self, requests: FileRequests, subdir: Subdir, form: str) -> bytes | None:
        """Return a list as it is served; None if the channel does not have that form."""
        if self._is_folder:
            return _file(file_path(self.channel) / subdir / form)
        kept = self._kept(subdir, form)
        if self.offline:
            if kept is None:
                raise NotCachedError
            return kept[1]
        url = self.channel.child(f"{subdir}/{form}")
        out = io.BytesIO()
        try:
            version = requests.get(url, out, MAX_DOWNLOAD, Validators() if kept is None else kept[0])
        except Refused as error:
            raise DamagedListError(error.message) from None
        except Failed as error:
            if error.code == "not-found":
                self._forget(subdir, form)
                return None
            raise
        if version is None and kept is not None:
            return kept[1]
        body = out.getvalue()
        head = {"etag": version.etag, "modified": version.modified} if version is not None else {}
        self._store(self._place(subdir, form), _head({**head, "sha256": hashlib.sha256(body).hexdigest()}) + body)
        return body

    def _kept(self, subdir: Subdir, form: str) -> tuple[Validators, bytes] | None:
        """Return a cached list, and its version; None for one that is damaged, too."""
        place = self._place(subdir, form)
        try:
            data = b"" if place is None else place.read_bytes()
        except OSError:
            return None
        first, _, body = data.partition(b"\n")
        try:
            head = json.loads(first)
            version = Validators.of({"ETag": str(head["etag"]), "Last-Modified": str(head["modified"])})
            return (version, body) if head["sha256"] == hashlib.sha256(body).hexdigest() else None
        except (ValueError, LookupError, TypeError):
            return None

    def _parse(self, subdir: Subdir, form: str, body: bytes) -> PackageList:
        """Read a list. Raises `DamagedListError`, and `Failed` for addresses that it must not name."""
        own = self.channel.child(subdir)
        where = f"{own}/{form}"
        document = _msgpack(where, _zstd(where, body, MAX_SHARD)) if form == SHARDS else _json(where, form, body)
        info = document.get("info")
        info = info if isinstance(info, dict) else {}
        found = PackageList(subdir, _named(own, info.get("base_url")))
        if form != SHARDS:
            found.records = _by_name(document)
            if (count := sum(map(len, found.records.values()))) > FREE_RECORDS + len(body) // RECORD:
                raise DamagedListError(f"{where}: its {len(body)} bytes have {count} records")
            return found
        found.shards_base = _named(own, info.get("shards_base_url"))
        shards = document.get("shards")
        if not isinstance(shards, dict):
            raise DamagedListError(f"{where} lists no shards")
        for name, sha256 in shards.items():
            if not isinstance(name, str) or not isinstance(sha256, bytes) or len(sha256) != _SHA256:
                raise DamagedListError(f"{where} has a shard without a sha256")
            found.shards[name] = sha256.hex()
        return found

    # Shards

    def _read_shards(self, requests: FileRequests, found: PackageList, names: Iterable[str]) -> None:
        """Read the shards of names. Raises as `read`, and `DamagedListError` and `NotCachedError`."""
        wanted = list(names)
        with ThreadPoolExecutor(min(CONNECTIONS, len(wanted)), thread_name_prefix="conda2wheel-shard") as pool:
            futures = [pool.submit(self._shard, requests, found, name) for name in wanted]
            try:
                for name, future in zip(wanted, futures, strict=True):
                    for each, records in _by_name(future.result()).items():
                        found.records.setdefault(each, {}).update(records)
                    found.records.setdefault(name, {})
                    found.shards.pop(name)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _shard(self, requests: FileRequests, found: PackageList, name: str) -> dict[str, Any]:
        sha256 = found.shards[name]
        place = None if self.cache is None else self.cache / "shards" / sha256
        base = found.shards_base or found.base
        where = f"{base}/{sha256}.msgpack.zst"
        body = None if place is None else _file(place)
        if body is None or hashlib.sha256(body).hexdigest() != sha256:
            body = self._request_shard(requests, base, sha256)
            self._store(place, body)
        document = _msgpack(where, _zstd(where, body, MAX_SHARD))
        for records in (document.get("packages"), document.get("packages.conda")):
            for record in records.values() if isinstance(records, dict) else ():
                for key, value in record.items() if isinstance(record, dict) else ():
                    if isinstance(value, bytes):  # hashes, which are hexadecimal in JSON
                        record[key] = value.hex()
        return document

    def _request_shard(self, requests: FileRequests, base: Address, sha256: str) -> bytes:
        url = base.child(f"{sha256}.msgpack.zst")
        if secret_url(url).startswith("file:"):
            body = _file(file_path(url))
            if body is None:
                raise DamagedListError(f"{url}: no such file")
        elif self.offline:
            raise NotCachedError
        else:
            out = io.BytesIO()
            try:
                requests.get(url, out, MAX_SHARD)
            except Refused as error:
                raise DamagedListError(error.message) from None
            except Failed as error:
                if error.code == "not-found":
                    raise DamagedListError(error.message) from None
                raise
            body = out.getvalue()
        if (got := hashlib.sha256(body).hexdigest()) != sha256:
            raise DamagedListError(f"{url}: has sha256 {got}, not the one that its list names")
        return body

    def _unread(self, error: Failed) -> Failed:
        return Failed("network", f"cannot read {self.channel}: {error.message}", _HINT)

    # The cache

    def _place(self, subdir: Subdir, form: str) -> Path | None:
        if self.cache is None or self._is_folder:
            return None
        return self.cache / hashlib.sha256(self.channel.encode()).hexdigest()[:16] / f"{subdir}.{form}"

    def _forget(self, subdir: Subdir, form: str) -> None:
        if (place := self._place(subdir, form)) is not None:
            with suppress(OSError):
                place.unlink()

    def _store(self, place: Path | None, data: bytes) -> None:
        """Write a file of the cache as a whole, readable for this user alone. Raises `Failed` (disk)."""
        if place is None:
            return
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            out = tempfile.NamedTemporaryFile(dir=place.parent, prefix=".part-", delete=False)  # noqa: SIM115 - closed below
            try:
                with out:
                    out.write(data)
                replace_file(Path(out.name), place)
            except BaseException:
                Path(out.name).unlink(missing_ok=True)
                raise
        except OSError as error:
            why = f"{place}: cannot save a list of packages: {error.strerror}"
            raise Failed("disk", why, "set CONDA2WHEEL_CACHE to a folder with free space") from None


def usable_cache(folder: Path, offline: bool) -> Path | None:
    """Return the folder for lists if it can be written, or read while offline; and remove what py-rattler kept there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            return folder if offline else None
        for each in folder.iterdir():
            if each.is_dir() and any(next(each.glob(pattern), None) for pattern in _OLD_CACHE):
                shutil.rmtree(each, ignore_errors=True)
    except OSError:
        return folder if offline else None
    return folder


_HINT = "check the channel and the network, and whether it wants a password"


def _missing(found: PackageList, wanted: set[str] | None) -> set[str]:
    """Return the names whose shards are needed and were not read."""
    return set(found.shards) if wanted is None else wanted & set(found.shards)


def _named(own: Address, reference: Any) -> Address:
    """Return the address that a list names for its files; its own without one."""
    return steered(own, reference) if isinstance(reference, str) and reference else own


def _by_name(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the records by package name, by file name; of a build with two archives, the `.conda`.

    A record without a usable name counts as one of the name in its file name.
    """
    tables = [document.get(key) for key in ("packages", "packages.conda")]
    tars, condas = (table if isinstance(table, dict) else {} for table in tables)
    found: dict[str, dict[str, Any]] = {}
    for filename, record in (*tars.items(), *condas.items()):
        if filename.endswith(".tar.bz2") and f"{filename.removesuffix('.tar.bz2')}.conda" in condas:
            continue
        name = record.get("name") if isinstance(record, dict) else None
        own = filename.rsplit("-", 2)[0] if isinstance(filename, str) else ""
        found.setdefault(name if isinstance(name, str) and name else own, {})[filename] = record
    return found


def _json(where: str, form: str, body: bytes) -> dict[str, Any]:
    data = _zstd(where, body, min(MAX_UNPACKED, FREE + RATIO * len(body))) if form.endswith(".zst") else body
    weight = sum(data.count(mark) * each for mark, each in _WEIGHTS.items())
    if weight > FREE_MEMORY + RATIO * len(body):
        raise DamagedListError(f"{where}: its {len(body)} bytes would take some {weight >> 20} MiB of memory")
    try:
        return _object(where, json.loads(data, parse_int=_integer))
    except (ValueError, RecursionError) as error:
        raise DamagedListError(f"{where} is not JSON: {str(error)[:200]}") from None


def _integer(text: str) -> int | str:
    """Read a number; one beyond 64 bits stays text, which no field of a record may be."""
    return int(text) if len(text) < 20 else text


def _msgpack(where: str, data: bytes | bytearray) -> dict[str, Any]:
    import msgpack

    try:
        return _object(where, msgpack.unpackb(data, strict_map_key=True))
    except (ValueError, msgpack.UnpackException, RecursionError, OverflowError) as error:
        raise DamagedListError(f"{where} is not msgpack: {str(error)[:200]}") from None


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DamagedListError(f"{where} has no object at its top")
    return value


def _zstd(where: str, body: bytes, bound: int) -> bytes | bytearray:
    import zstandard

    try:
        unpacker = zstandard.ZstdDecompressor(max_window_size=128 << 20)
        data = bytearray()
        with unpacker.stream_reader(body, read_across_frames=True) as stream:
            while len(data) <= bound and (more := stream.read(_PIECE)):
                data += more
    except (zstandard.ZstdError, MemoryError) as error:
        raise DamagedListError(f"{where} is not zstd: {error}") from None
    if len(data) > bound:
        raise DamagedListError(f"{where}: its {len(body)} bytes unpack to more than {bound}")
    return data


def _file(path: Path) -> bytes | None:
    """Read a file; None if there is none. Raises `Failed` (unreadable) and `DamagedListError`."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_DOWNLOAD + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Failed("unreadable", f"{path}: {error.strerror}", "make it readable for this user") from None
    if len(data) > MAX_DOWNLOAD:
        raise DamagedListError(f"{path}: more than {MAX_DOWNLOAD} bytes")
    return data


def _head(values: Mapping[str, str]) -> bytes:
    return json.dumps({"etag": "", "modified": "", **values}).encode() + b"\n"
