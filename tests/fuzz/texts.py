"""Targets: the texts of a package: info/, recipes, METADATA, requirements, entry points, RECORD, match specs, addresses."""

from __future__ import annotations

import configparser
import email.parser
import json
from collections.abc import Iterator
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from conda2wheel.conda.abi_evidence import claims
from conda2wheel.conda.host_environment import host_libraries
from conda2wheel.conda.match_spec import admits, built_with, excluding_spec, run_export_specs, spec_name
from conda2wheel.conda.names import map_name, pypi_name
from conda2wheel.conda.origin import MemberSource
from conda2wheel.conda.package import CondaPackage, read_info
from conda2wheel.errors import Refused
from conda2wheel.files.documents import DocumentError, parse_json, parse_yaml
from conda2wheel.files.links import PackageFiles
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.net.credentials import credentials
from conda2wheel.net.urls import fragment_sha256, is_secure, is_url, redact_text, redacted
from conda2wheel.programs.javascript import Script, read_script
from conda2wheel.wheel.dist_infos import choose_distribution, find_distributions
from conda2wheel.wheel.entry_points import entry_points_text, parse_entry_points, read_entry_points
from conda2wheel.wheel.metadata import Document, corrected, egg_requirements, generated, parse, with_provides_extra
from conda2wheel.wheel.prefix import interpreter_of, relocate, with_python_shebang
from conda2wheel.wheel.requirements import from_depends, reconcile
from conda2wheel.wheel.versions import pep440, specifiers_of
from tests.fuzz import seeds, textfiles
from tests.fuzz.model import Target, require
from tests.fuzz.mutate import Mutator, either, files, json_document, lines, plain, tokens
from tests.fuzz.work import scratch

SPECS = b"""numpy >=2,<3
numpy=2.4
foo[version=">=1,<2", build="*_0"]
conda-forge/noarch::foo >=1.0.0a0
foo 1.* py313*
foo ((>=1,<2)|>3),!=3.5
foo ~=1.2
_python_abi3_support 1.*
python_abi 3.13.* *_cp313
foo >=1!2.0,<2!0
Foo_Bar.x
https://host/x-1-0.conda
"""
ENVIRONMENT = {
    "implementation_name": "cpython",
    "implementation_version": "3.13.2",
    "os_name": "posix",
    "platform_machine": "wasm32",
    "platform_python_implementation": "CPython",
    "platform_release": "4.0.9",
    "platform_system": "Emscripten",
    "platform_version": "1",
    "python_full_version": "3.13.2",
    "python_version": "3.13",
    "sys_platform": "emscripten",
}


def contents(path: str) -> Mutator:
    """How a file of a package is changed by its name."""
    if path.endswith(".json"):
        return json_document
    return either(lines, tokens, plain)


def as_package(data: bytes) -> CondaPackage:
    """The package that a `textfiles` text describes, without an archive around it."""
    found = {
        each.path: PackageFile(each.path, BytesBlob(each.content))
        for each in textfiles.read(data)
        if each.path and each.target is None
    }
    return read_info("x", PackageFiles(tuple(found[path] for path in sorted(found))))


def _run_info(data: bytes) -> None:
    package = as_package(data)
    _ = (
        package.name,
        package.version,
        package.build,
        package.depends,
        package.subdir,
        package.noarch,
        package.timestamp,
        package.stem,
    )
    _ = (claims(package), host_libraries(package), built_with(package.rendered_recipe), run_export_specs(package.run_exports))
    source = MemberSource.of(package)
    json.dumps(source.json(), allow_nan=False)
    require(MemberSource.from_json(json.loads(json.dumps(source.json()))) == source, "a source is not what its JSON says")
    read_entry_points(package, None)
    document = generated(package, ">=3.13")
    _written(corrected(document, package, "demo", "1.0", None)[0])


def _info_seeds() -> Iterator[bytes]:
    described = [each for each in seeds.package() if each.path.startswith("info/")]
    yield textfiles.write(
        [
            *described,
            textfiles.TextFile("x", b"1"),
            textfiles.TextFile(
                "info/paths.json",
                b'{"paths": [{"_path": "x", "path_type": "hardlink", "size_in_bytes": 1, "prefix_placeholder": "/p"}]}',
            ),
        ]
    )
    yield textfiles.write(each for each in seeds.egg() if each.path.startswith(("info/", "site-packages/demo")))
    record = {
        **seeds.INDEX,
        "fn": "demo-1.0-0.conda",
        "sha256": "00",
        "url": "https://u:p@host/t/tk-1/demo",
        "paths_data": {"paths": []},
    }
    yield textfiles.write(
        [textfiles.TextFile("conda-meta/demo.json", json.dumps(record).encode()), textfiles.TextFile("x", b"1")]
    )
    for path in seeds.given(seeds.PACKAGES):
        yield textfiles.write(each for each in seeds.small(path) if each.path.startswith("info/"))


def _run_recipe_yaml(data: bytes) -> None:
    value = parse_yaml(BytesBlob(data))
    _encodable(value)
    if isinstance(value, dict):
        built_with(value)


def _run_json(data: bytes) -> None:
    value = parse_json(data)
    again = json.dumps(value, allow_nan=False, ensure_ascii=False)
    require(parse_json(again) == value, "a JSON document changes when it is written")
    _encodable(value)


def _encodable(value: Any) -> None:
    """No text of a document has lone surrogates. A value may be in it many times, which a bound on nodes limits."""
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            each.encode()
        elif isinstance(each, (dict, list)):
            stack += [*each, *each.values()] if isinstance(each, dict) else each


def _plain_package(**about: Any) -> CondaPackage:
    return CondaPackage("x", (), dict(seeds.INDEX), about=about)


def _written(document: Document) -> None:
    """What is written is what every reader of METADATA reads: email, line by line (micropip), and we."""
    data = document.encode()
    text = data.decode("utf-8")
    again = parse(data)
    require(parse(again.encode()) == again, "writing twice is not writing once")
    require(again.fields == document.fields or _blank(document), f"read {again.fields}, written {document.fields}")
    message = email.parser.BytesParser().parsebytes(data)
    wanted = [" ".join(value.split()) for value in document.all("Requires-Dist")]
    require(
        [" ".join(str(value).split()) for value in message.get_all("Requires-Dist", [])] == wanted,
        "email reads other requirements",
    )
    by_line = [line.partition(":")[2].strip() for line in text.split("\n") if line.startswith("Requires-Dist:")]
    require([" ".join(line.split()) for line in by_line] == wanted, "a reader of lines finds other requirements")


def _blank(document: Document) -> bool:
    """Whether values are such as a reader leaves out or cleans."""
    return any(
        not value.strip() or value != " ".join(value.split()) or value.upper() == "UNKNOWN" for _, value in document.fields
    ) or any(not value.isprintable() for _, value in document.fields)


def _run_metadata(data: bytes) -> None:
    document = parse(data)
    require(
        parse(document.encode()).encode() == parse(parse(document.encode()).encode()).encode(),
        "reading what was written changes it",
    )
    mended, _ = corrected(document, _plain_package(**seeds.ABOUT), "demo", "1.0", None)
    _written(mended)
    again, _ = corrected(mended, _plain_package(**seeds.ABOUT), "demo", "1.0", None)
    require(again.encode() == mended.encode(), "mending twice is not mending once")
    _written(with_provides_extra(mended))
    egg_requirements(document.body)


def _run_requirements(data: bytes) -> None:
    """Lines of Requires-Dist, an empty line, match specs."""
    text = data.decode("utf-8", "replace")
    first, _, second = text.partition("\n\n")
    requires, depends = first.split("\n"), second.split("\n")
    found = from_depends(depends)
    for line in found.requires:
        Requirement(line)
    for pins in ("metadata", "conda"):
        made = reconcile(requires, depends, ENVIRONMENT, pins)
        if pins == "metadata":
            require(made.requires == tuple(requires), "METADATA's requirements change")


def _run_match_spec(data: bytes) -> None:
    for line in data.decode("utf-8", "replace").split("\n"):
        name = spec_name(line)
        admits(line, "1.0")
        admits("x >=1", line)
        excluding_spec(name, "1.0", [line])
        pypi_name(name)
        map_name(name)
        specifiers, _ = specifiers_of(line)
        str(specifiers)
        version = pep440(line)
        if version is not None:
            Version(version)
            require(pep440(version) == version, f"{version!r} has another PEP 440 form")


class _EntryPointsReader(configparser.ConfigParser):
    """As pkg_resources and pip read it: names have capitals."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _run_entry_points(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    found = parse_entry_points(text)
    written = entry_points_text(found)
    require(parse_entry_points(written.decode()) == found, "entry points change when they are written")
    package = CondaPackage("x", (), dict(seeds.INDEX), link={"noarch": {"entry_points": text.split("\n")}})
    declared, _ = read_entry_points(package, None)
    reader = _EntryPointsReader(delimiters="=", strict=False, interpolation=None, comment_prefixes=("#", ";"))
    reader.read_string(entry_points_text(declared).decode())
    theirs = {group: dict(reader[group]) for group in reader.sections()}
    require(theirs == declared, f"configparser reads {theirs}, written {declared}")


def _run_record(data: bytes) -> None:
    """RECORD, METADATA and the like of several distributions in site-packages."""
    found = {each.path: PackageFile(each.path, BytesBlob(each.content)) for each in textfiles.read(data) if each.target is None}
    distributions = find_distributions("x", found)
    for each in distributions:
        _ = (each.name, each.project, each.folder_name, each.root, each.recorded, each.top_level)
        canonicalize_name(each.project)
        egg_requirements(each.text("requires.txt") or "")
    try:
        choose_distribution(_plain_package(), distributions)
    except Refused as error:
        require(error.code == "several-distributions", error.code)


def _record_seeds() -> Iterator[bytes]:
    site = [textfiles.TextFile(each.path.removeprefix(f"{seeds.SITE}/"), each.content) for each in seeds.package()]
    yield textfiles.write(each for each in site if ".dist-info" in each.path)
    eggs = [textfiles.TextFile(each.path.removeprefix("site-packages/"), each.content) for each in seeds.egg()]
    yield textfiles.write(each for each in eggs if "egg-info" in each.path)


def _run_address(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with scratch() as folder:
        (folder / "stored.json").write_text(text.partition("\n")[2], encoding="utf-8", errors="replace")
        for address in (text, text.partition("\n")[0], "https://host/x"):
            _ = (is_url(address), is_secure(address), fragment_sha256(address))
            shown = redacted(address)
            require(redacted(shown) == shown, "redacting twice is not redacting once")
            redact_text(address)
            if is_secure(address):
                secret = address.replace("://", "://user:hunter2@", 1)
                require("hunter2" not in redacted(secret) or "hunter2" in address, f"{secret!r} shows its password")
                credentials(
                    address, {"RATTLER_AUTH_FILE": str(folder / "stored.json"), "HOME": str(folder), "NETRC": str(folder / "no")}
                )


def _run_prefix(data: bytes) -> None:
    from conda2wheel.conda.paths_json import Placeholder

    prefix, _, content = data.partition(b"\n")
    text = prefix.decode("utf-8", "replace")
    interpreter_of(content)
    with_python_shebang(content)
    if text:
        for mode in ("text", "binary", "x"):
            new, _, _ = relocate(content, Placeholder(mode, text))
            require(mode != "binary" or len(new) == len(content), "a binary file changes its size")


TEXT = either(lines, tokens, plain)
STORED = b'{"host": {"BearerToken": "x"}, "*.host": {"BasicHTTP": {"username": "a", "password": "b"}}}'
SCRIPTS = (b"/opt/p\n#!/opt/p/bin/python -s\nx = '/opt/p/x'\n", b"/opt/p\n\0/opt/p/x\0\0/opt/p:/opt/p/y\0")
JAVASCRIPT = (
    b"""#!/usr/bin/env node
var Module = typeof Module != "undefined" ? Module : {};
var thisProgram = "./this.program", ENVIRONMENT_IS_NODE = true, ENV = {USER: "web_user"};
function findWasmBinary() { return locateFile("tool.wasm"); }
var wasmImports = {environ_get: _environ_get, environ_sizes_get: _environ_sizes_get};
var NODEFS = {isWindows: false}; Module["FS"] = FS; Module["ENV"] = ENV;
function callMain(args = []) { return _main(args.length); }
""",
    b"""var createTool=(()=>{return async function(moduleArg={}){var Module=moduleArg;var g="./this.program";
var k={h:_environ_get,i:_environ_sizes_get},e={USER:"web_user"};Module.FS=f;var NODERAWFS={};return readyPromise}})();
function __main_argc_argv(){} new URL("a-b.wasm",import.meta.url);
if(typeof exports==="object")module.exports=createTool;export{createTool as x,createTool as default};
""",
    b'export default async function(a={}){var wasmBinaryFile="./x.wasm";var d=a._main;Module["FS"]=b;return a}',
)


def _run_script(data: bytes) -> None:
    script = read_script(data)
    require(script.is_emscripten or script == Script(problem=script.problem), "something is said of what is no program")
    require(script.wasm is None or not {"/", "\\", "\0"} & set(script.wasm), f"a module elsewhere: {script.wasm!r}")
    require(len(script.environ) in (0, 2), f"half of the environment: {script.environ}")
    require(not (script.lacks_environment and script.environ), "the environment is there and lacks")
    for names in ({"bin/tool.wasm"}, {f"bin/{script.wasm}"}, frozenset[str]()):
        found = Script.module_beside("bin/tool.js", script, names)
        require(found is None or found in names, f"a module that is not there: {found!r}")


TARGETS = [
    Target(
        "info",
        "info/: index, about, link, paths, files, has_prefix, recipes",
        _run_info,
        _info_seeds,
        files(contents),
        minute=25_000,
    ),
    Target(
        "json",
        "any JSON of a package",
        _run_json,
        lambda: [json.dumps(value).encode() for value in (seeds.INDEX, seeds.LINK, [{"a": [1.5, None, True]}])],
        either(json_document, tokens, plain),
        (DocumentError,),
        minute=150_000,
    ),
    Target(
        "recipe-yaml",
        "recipe.yaml, rendered_recipe.yaml, variant_config.yaml",
        _run_recipe_yaml,
        lambda: [seeds.RENDERED, seeds.RECIPE_YAML],
        TEXT,
        (DocumentError,),
        minute=30_000,
    ),
    Target(
        "metadata", "METADATA and PKG-INFO: read, mended, written", _run_metadata, lambda: [seeds.METADATA], TEXT, minute=2_500
    ),
    Target(
        "requirements",
        "Requires-Dist and depends: converted, compared",
        _run_requirements,
        lambda: [b"numpy>=2\nfoo; extra == 'x'\n\n" + SPECS],
        TEXT,
        size=16 << 10,
        minute=1_500,
    ),
    Target("match-spec", "match specs and versions", _run_match_spec, lambda: [SPECS], TEXT, size=16 << 10, minute=1_000),
    Target(
        "entry-points",
        "entry_points.txt, and those of link.json",
        _run_entry_points,
        lambda: [seeds.ENTRY_POINTS, b"demo = demo.cli:main\na = b"],
        TEXT,
        minute=35_000,
    ),
    Target("record", "RECORD, installed-files.txt, top_level.txt", _run_record, _record_seeds, files(contents), minute=15_000),
    Target(
        "address",
        "URLs, their redaction, stored credentials",
        _run_address,
        lambda: [b"https://u:p@h:1/t/tk-1/c/x.conda#sha256=00\n" + STORED],
        either(tokens, plain),
        minute=15_000,
    ),
    Target("prefix", "build prefixes in files, and shebangs", _run_prefix, lambda: SCRIPTS, TEXT, minute=85_000),
    Target(
        "javascript",
        "the JavaScript of Emscripten programs",
        _run_script,
        lambda: JAVASCRIPT,
        either(tokens, lines),
        minute=60_000,
    ),
]
