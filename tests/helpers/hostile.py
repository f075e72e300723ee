"""Inputs that attack each reader, by class: small files that are deep, long, many, damaged or full of control characters.

An input is a file with its name. `packages`, `wheels` and `modules` build those of a kind.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import zstandard

from conda2wheel.wasm.binary import HEADER, encode_name, encode_uleb
from tests.helpers.handmade import custom, module, section, vector

CONTROLS = "\x1b[31mred\x1b]0;title\x07\x9b2J\x85\u2028\u202e\u2066[bold]b[/bold][link=x:]l[/link]"
SITE = "lib/python3.13/site-packages"
WHEEL = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
Files = Mapping[str, bytes | str]


class Hostile(NamedTuple):
    """An input: what it is about, its file name, and its bytes."""

    name: str
    filename: str
    data: bytes


def tar(files: Files, special: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    """An uncompressed tar of files, then of members that are no files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for name, content in files.items():
            data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in special:
            archive.addfile(member)
    return stream.getvalue()


def info(**changes: Any) -> dict[str, bytes | str]:
    """The info/ of a small package, with fields of index.json changed."""
    index = {
        "name": "demo",
        "version": "1.0",
        "build": "0",
        "build_number": 0,
        "subdir": "noarch",
        "noarch": "python",
        "depends": [],
    }
    return {"info/index.json": json.dumps({**index, **changes}), f"{SITE}/demo.py": "x = 1\n"}


def dist_info(metadata: str = "", **files: str) -> dict[str, bytes | str]:
    """A dist-info of demo 1.0, with lines of METADATA."""
    folder = f"{SITE}/demo-1.0.dist-info"
    text = f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n{metadata}\n"
    return {f"{folder}/METADATA": text, **{f"{folder}/{name}": content for name, content in files.items()}}


def special(name: str, kind: bytes, target: str = "", **fields: Any) -> tarfile.TarInfo:
    """A member that is no file."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def package(name: str, files: Files, *members: tarfile.TarInfo) -> Hostile:
    """A package as empack packs it."""
    return Hostile(name, "demo-1.0-0.tar.gz", gzip.compress(tar(files, members), 6, mtime=0))


def native(name: str, data: bytes) -> Hostile:
    """A package with a shared object."""
    path = f"{SITE}/_x.cpython-313-wasm32-emscripten.so"
    return package(name, {**info(subdir="emscripten-wasm32", noarch=None, depends=["python 3.13.*"]), path: data})


def nested(opening: str, closing: str, depth: int = 20_000) -> str:
    """Text that is nested so deeply."""
    return opening * depth + closing * depth


def packages() -> Iterator[Hostile]:
    """Hostile packages."""
    for field in ("name", "version", "build", "subdir", "license", "url"):
        yield package(f"controls-{field}", info(**{field: f"demo{CONTROLS}"}))
        yield package(f"surrogate-{field}", info(**{field: "\ud800"}))
        yield package(f"number-{field}", info(**{field: 10**400}))
        yield package(f"list-{field}", info(**{field: [[]]}))
    for label, value in {
        "parentheses": [nested("(", ")")],
        "brackets": ["demo" + nested("[", "]")],
        "many": ["python"] * 200_000,
        "controls": [f"demo{CONTROLS} >=1", "a\rb", "demo ==1.0+a|==2.0"],
        "surrogate": ["\udc80"],
        "dict": {"a": 1},
        "digits": ["demo >=" + "9" * 50_000],
        "spaces": ["demo" + " " * 100_000 + ">=1"],
    }.items():
        yield package(f"depends-{label}", info(depends=value))
    for label, moment in {"huge": 10**300, "float": 1e300, "negative": -(10**12), "text": CONTROLS}.items():
        yield package(f"timestamp-{label}", info(timestamp=moment))
    base = info()
    for label, text in {
        "nested": nested("[", "]"),
        "digits": '{"name": ' + "9" * 50_000 + "}",
        "nan": '{"name": "demo", "version": "1.0", "build": "0", "timestamp": NaN, "depends": []}',
        "list": "[]",
        "utf-16": "\ufeff{}",
        "nothing": "",
        "zeros": "\0" * 1000,
    }.items():
        yield package(f"index-{label}", {**base, "info/index.json": text})
        yield package(f"paths-{label}", {**base, "info/paths.json": text})
        yield package(f"link-{label}", {**base, "info/link.json": text})
        yield package(f"about-{label}", {**base, "info/about.json": text})
        yield package(f"recipe-{label}", {**base, "info/recipe/rendered_recipe.yaml": text})
    yield package("recipe-aliases", {**base, "info/recipe/rendered_recipe.yaml": _laughs()})
    yield package(
        "recipe-date",
        {**base, "info/recipe/rendered_recipe.yaml": "recipe: {about: {license: 2020-01-01, homepage: !!binary aGk=}}"},
    )
    yield package("variants-nested", {**base, "info/recipe/variant_config.yaml": nested("{a: ", "}")})
    entry = json.dumps(
        {"noarch": {"type": "python", "entry_points": [f"a{CONTROLS} = b:c\rd = e:f", "a" * 50_000 + "=" * 50_000]}}
    )
    yield package("link-lines", {**base, "info/link.json": entry})
    yield package(
        "license-expression",
        {**base, "info/index.json": json.dumps({"name": "demo", "version": "1.0", "build": "0", "license": nested("(", ")")})},
    )
    yield from _metadata(base)
    yield from _names(base)
    yield from _archives(base)
    for each in modules():
        yield native(f"module-{each.name}", each.data)


def _metadata(base: Files) -> Iterator[Hostile]:
    for label, text in {
        "author": f"Author-email: {nested('(', ')')}",
        "quotes": 'Author-email: "' + '\\"' * 50_000,
        "requires-spaces": f"Requires-Dist: a{' ' * 100_000}b",
        "requires-url": f"Requires-Dist: a @ {'h' * 100_000}",
        "requires-markers": f"Requires-Dist: a; {nested('(', ')')}",
        "requires-local": "Requires-Dist: a==1.0+b,==2.0+c",
        "requires-digits": f"Requires-Dist: a>={'9' * 20_000}",
        "python-digits": f"Requires-Python: >={'9' * 20_000}",
        "controls": f"Summary: {CONTROLS}\nProject-URL: {CONTROLS}, https://x\nLicense: {CONTROLS}",
        "license-nested": f"License-Expression: {nested('(', ')')}",
        "version-digits": f"Version: 1.{'9' * 20_000}",
        "many": "Classifier: Private :: x\n" * 50_000,
        "folded": "Summary: a\n" + " b\n" * 100_000,
        "surrogates": "Summary: \udc80\ud800",
    }.items():
        yield package(f"metadata-{label}", {**base, **dist_info(text)})
    for label, text in {
        "spaces": "[console_scripts]\na" + " " * 100_000 + "b",
        "equals": "[console_scripts]\n" + "a=" * 50_000,
        "controls": f"[console_scripts]\nx{CONTROLS} = a:b\n\x85y = c:d\n",
        "sections": nested("[", "]"),
    }.items():
        yield package(f"entry-points-{label}", {**base, **dist_info(**{"entry_points.txt": text})})
    yield package("record-controls", {**base, **dist_info(RECORD=f'demo.py,,\n{CONTROLS},,\n"a\nb",,\n')})
    yield package("record-long", {**base, **dist_info(RECORD="a," * 200_000)})
    yield package("top-level", {**base, **dist_info(**{"top_level.txt": CONTROLS})})


def _names(base: Files) -> Iterator[Hostile]:
    for number, part in enumerate((CONTROLS, "a\nb", "a\rb", "\u202eyp", 'a,b"c', "con", "\\..\\x", "%2e%2e", "-rf", "a" * 250)):
        yield package(f"file-name-{number}", {**base, f"{SITE}/{part}.py": "x = 1\n"})
    yield package("file-name-bytes", {**base, f"{SITE}/\udcff.py": "x = 1\n"})
    yield package("deep-path", {**base, f"{SITE}/{'d/' * 5_000}x.py": ""})
    yield package("many-paths", {**base, **{f"{SITE}/{number}.py": "" for number in range(20_000)}})
    yield package("long-paths", {**base, **{f"{SITE}/{number}{'/long' * 600}": "" for number in range(100)}})


def _archives(base: Files) -> Iterator[Hostile]:
    def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
        return special(f"{SITE}/{name}", kind, target)

    yield package("link-out", base, link("out.py", "../../../../../etc/passwd"))
    yield package("link-absolute", base, link("out.py", "/etc/passwd"))
    yield package("link-loop", base, link("a.py", "b.py"), link("b.py", "a.py"))
    yield package("link-nowhere", base, link("a.py", "gone.py"))
    yield package("link-controls", base, link("a.py", CONTROLS))
    yield package("hardlink-out", base, link("a.py", "/etc/passwd", tarfile.LNKTYPE))
    yield package("links-of-links", base, *(link(f"l{number}", f"l{number + 1}") for number in range(5_000)))
    yield package("folder-links", base, *(special(f"{SITE}/d{number}", tarfile.SYMTYPE, ".") for number in range(100)))
    for label, kind in {"device": tarfile.CHRTYPE, "fifo": tarfile.FIFOTYPE, "unknown": b"Z"}.items():
        yield package(f"member-{label}", base, special(f"{SITE}/x", kind))
    yield package("member-root", base, special("/", tarfile.DIRTYPE), special(".", tarfile.DIRTYPE))
    yield package("member-absolute", {**base, "/etc/cron.d/x": "x"})
    yield package("member-parent", {**base, "../../x": "x"})
    yield package(
        "pax-time", base, special(f"{SITE}/t", tarfile.DIRTYPE, mtime=1e300), special(f"{SITE}/u", tarfile.DIRTYPE, mtime=-1e18)
    )
    whole = gzip.compress(tar(base), mtime=0)
    for cut in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        yield Hostile(f"truncated-{cut}", "demo-1.0-0.tar.gz", whole[:cut])
    yield Hostile("no-end", "demo-1.0-0.tar.gz", gzip.compress(tar(base)[:1536]))
    yield Hostile("bomb-gzip", "demo-1.0-0.tar.gz", gzip.compress(bytes(64 << 20), mtime=0))
    yield Hostile("bomb-bzip2", "demo-1.0-0.tar.bz2", bz2.compress(bytes(64 << 20)))
    yield Hostile("text", "demo-1.0-0.tar.bz2", CONTROLS.encode())
    yield Hostile("xz", "demo-1.0-0.tar.bz2", lzma.compress(tar(base)))
    header = b"\x28\xb5\x2f\xfd\x00\xf8" + b"\0" * 20  # the largest window there is
    for label, inner in {
        "window": header,
        "bomb": zstandard.compress(bytes(64 << 20)),
        "text": CONTROLS.encode(),
        "nothing": b"",
    }.items():
        yield Hostile(f"conda-{label}", "demo-1.0-0.conda", _conda(inner, zstandard.compress(tar(info()))))
    yield Hostile("conda-no-info", "demo-1.0-0.conda", _zip({"metadata.json": "{}"}))
    yield Hostile("conda-nested", "demo-1.0-0.conda", _zip({"metadata.json": nested("[", "]"), "info-demo-1.0-0.tar.zst": b""}))


def _conda(pkg: bytes, about: bytes) -> bytes:
    version = '{"conda_pkg_format_version": 2}'
    parts: dict[str, bytes | str] = {"metadata.json": version, "pkg-demo-1.0-0.tar.zst": pkg, "info-demo-1.0-0.tar.zst": about}
    return _zip(parts)


def _zip(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return stream.getvalue()


def _laughs() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]" for number in range(1, 12)]
    return "\n".join(lines)


def modules() -> Iterator[Hostile]:
    """Hostile side modules."""

    def made(name: str, data: bytes) -> Hostile:
        return Hostile(name, "_x.cpython-313-wasm32-emscripten.so", data)

    sound = module(exports={"PyInit__x": ">i"})
    huge = encode_uleb(0xFFFFFFFF)
    yield made("empty", b"")
    yield made("header", HEADER)
    yield made("elf", b"\x7fELF" + bytes(100))
    yield made("half", sound[: len(sound) // 2])
    yield made("sections", sound + custom("", b"") * 100_000)
    yield made("last-byte", sound[:-1] + b"\x1f")
    yield made("imports", module([("env", f"f{number}", ">") for number in range(20_000)]))
    yield made("exports", module(exports={f"f{number}": ">" for number in range(5_000)}))
    yield made(
        "controls",
        module([("env", CONTROLS, ">")], {f"PyInit__x{CONTROLS}": ">i"}, needed=[f"lib{CONTROLS}.so"], rpath=[CONTROLS]),
    )
    yield made("needed-out", module(needed=["/etc/passwd", "../../x.so", "", "a/b.so", "\n.so"]))
    yield made("needed-many", module(needed=[f"lib{number}.so" for number in range(5_000)]))
    yield made("strings", module(strings=["printable " * 20_000]))
    for number in (1, 2, 3, 5, 6, 7, 10, 11, 13):
        yield made(f"count-{number}", HEADER + custom("dylink.0", b"") + section(number, huge))
    yield made("code", HEADER + custom("dylink.0", b"") + section(10, vector([encode_uleb(3) + b"\0\x1f"])))
    yield made("dylink-size", HEADER + custom("dylink.0", b"\1" + huge))
    yield made("name", HEADER + custom("dylink.0", b"\2" + encode_uleb(9) + b"\1" + encode_name("\xff")[:2]))
    yield made("blocks", HEADER + custom("dylink.0", b"") + section(10, vector([_body(b"\x02\x40" * 20_000)])))


def _body(code: bytes) -> bytes:
    return encode_uleb(len(code) + 2) + b"\0" + code + b"\x0b"


def wheels() -> Iterator[Hostile]:
    """Hostile wheels."""

    def wheel(name: str, filename: str = "demo-1.0-py3-none-any.whl", metadata: str = "", **more: bytes | str) -> Hostile:
        text = f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n{metadata}\n"
        files = {
            "demo.py": "x = 1\n",
            "demo-1.0.dist-info/METADATA": text,
            "demo-1.0.dist-info/WHEEL": WHEEL,
            "demo-1.0.dist-info/RECORD": "",
        }
        return Hostile(name, filename, _zip({**files, **more}))

    yield wheel("controls", metadata=f"Summary: {CONTROLS}\nRequires-Dist: a{CONTROLS}", **{f"demo/{CONTROLS}.py": ""})
    yield wheel("surrogates", metadata="Summary: \udc80")
    yield wheel("author", metadata=f"Author-email: {nested('(', ')')}")
    yield wheel("requires", metadata=f"Requires-Dist: a{' ' * 100_000}b\nRequires-Dist: a; {nested('(', ')')}")
    yield wheel("requires-python", metadata=f"Requires-Python: >={'9' * 20_000}")
    yield wheel("record", **{"demo-1.0.dist-info/RECORD": f"{CONTROLS},,\n" + "a,b," * 50_000})
    yield wheel("tags", **{"demo-1.0.dist-info/WHEEL": WHEEL + "Tag: py3-none-any\n" * 50_000})
    product = "-".join(".".join([letter] * 2000) for letter in "abc")
    many = ".".join(f"p{number}" for number in range(20))
    yield wheel(
        "tag-product",
        filename=f"demo-1.0-{many}-{many}-{many}.whl",
        **{"demo-1.0.dist-info/WHEEL": f"{WHEEL}Tag: {product}\n"},
    )
    yield wheel("two", **{"demo-2.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 2.0\n"})
    yield wheel("outside", **{"../x.py": "", "/etc/x": "", "a\\b.py": ""})
    for label, text in {
        "nested": nested("[", "]"),
        "digits": '{"schema": ' + "9" * 50_000 + "}",
        "list": "[]",
        "controls": json.dumps(
            {
                "schema": 1,
                "command": CONTROLS,
                "tool": {"name": "conda2wheel", "version": CONTROLS},
                "sources": [{"kind": "package", "name": "\ud800"}],
                "options": {},
            }
        ),
        "types": json.dumps(
            {"schema": 1, "command": ["x"], "tool": 1, "sources": 1, "options": [], "members": 3, "warnings": "x"}
        ),
        "epoch": json.dumps(
            {
                "schema": 1,
                "command": "convert",
                "tool": {"name": "conda2wheel", "version": "1"},
                "sources": [{"kind": "package"}],
                "options": {"source_date_epoch": 10**30},
            }
        ),
    }.items():
        yield wheel(f"account-{label}", **{"demo-1.0.dist-info/conda2wheel.json": text})
    for each in modules():
        native_member: dict[str, Any] = {"demo/_x.cpython-313-wasm32-emscripten.so": each.data}
        yield wheel(f"module-{each.name}", "demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl", **native_member)
    whole = wheel("").data
    yield Hostile("lzma", "demo-1.0-py3-none-any.whl", _zip({"demo.py": "x" * 1000}, zipfile.ZIP_LZMA)[:-30] + bytes(30))
    yield Hostile(
        "lzma-damaged", "demo-1.0-py3-none-any.whl", _damaged(_zip({"demo-1.0.dist-info/METADATA": "x" * 1000}, zipfile.ZIP_LZMA))
    )
    yield Hostile(
        "method",
        "demo-1.0-py3-none-any.whl",
        whole.replace(struct.pack("<HH", 20, 0), struct.pack("<HH", 20, 0)).replace(
            b"PK\1\2\x14\3\x14\0\0\0\0\0", b"PK\1\2\x14\3\x14\0\0\0\x63\0"
        ),
    )
    for cut in (0, 4, len(whole) // 2, len(whole) - 1):
        yield Hostile(f"truncated-{cut}", "demo-1.0-py3-none-any.whl", whole[:cut])
    yield Hostile(
        "bomb", "demo-1.0-py3-none-any.whl", _zip({"demo-1.0.dist-info/METADATA": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
    )
    yield Hostile("name", "demo.whl", whole)
    yield Hostile("name-controls", f"demo\x1b[31m-1.0{CONTROLS.replace('/', '')}-py3-none-any.whl", whole)


def _damaged(data: bytes) -> bytes:
    middle = 60
    return data[:middle] + bytes(each ^ 0xFF for each in data[middle : middle + 20]) + data[middle + 20 :]
