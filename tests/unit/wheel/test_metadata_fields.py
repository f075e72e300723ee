"""Upstream's metadata is kept and mended field by field until PyPI takes it; where there is none, conda's words make it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.metadata import Metadata
from packaging.requirements import Requirement

from conda2wheel.conda.package import CondaPackage
from conda2wheel.files.pypa import spdx_expression
from conda2wheel.wheel.metadata import (
    Document,
    corrected,
    egg_requirements,
    generated,
    parse,
    with_provides_extra,
)
from tests.helpers import shapes
from tests.helpers.conda import Content
from tests.helpers.shapes import MODULE, dist_info, made, package


def mended(*lines: str, body: str = "", **words: Mapping[str, Any]) -> tuple[Document, list[str]]:
    """A document with these lines, mended, and what was told; `words` are the package's index, about, recipe ..."""
    index = {"name": "demo", "version": "1.0", **words.pop("index", {})}
    document = parse("\n".join([*lines, "", body]).encode())
    package = CondaPackage("demo", (), index, **words)  # type: ignore[arg-type]
    result, warnings = corrected(document, package, "demo", "1.0", None)
    Metadata.from_email(result.encode(), validate=True)
    return result, [warning.message for warning in warnings]


def one(field: str, value: str) -> tuple[list[str], int]:
    """What becomes of one field, and how many warnings there are."""
    document, told = mended(f"{field}: {value}")
    return document.all(field), len(told)


@pytest.mark.parametrize("version", ["1.0", "1.2", "2.1", "2.5", "9.9"])
def test_the_head_is_ours_whatever_it_was(version: str) -> None:
    document, told = mended(
        f"Metadata-Version: {version}", "Name: other", "Version: 0.0.0", "Import-Name: demo", "Import-Namespace: x"
    )
    assert document.fields == (("Metadata-Version", "2.4"), ("Name", "demo"), ("Version", "1.0"))
    assert not told


def test_valid_fields_stay_as_they_are_and_in_order() -> None:
    lines = [
        "Summary: Shows",
        "Keywords: a,b",
        "Home-page: https://example.org/x",
        'Author-email: "Doe, J." <j@example.org>, k@example.org',
        "Classifier: Programming Language :: Python :: 3",
        "Classifier: Private :: Do Not Upload",
        "Requires-Python: >=3.9, !=3.10.*",
        "Requires-Dist: numpy >=1.0 ; python_version<'3.12'",
        "Provides-Extra: test",
        "Requires-Dist: pytest; extra == 'test'",
        "Project-URL: MemberSource, https://example.org/source?a=b,c",
        "Dynamic: License-File",
        "License-Expression: MIT",
    ]
    document, told = mended(*lines)
    assert [f"{name}: {value}" for name, value in document.fields[3:]] == [*lines[:8], lines[9], lines[8], *lines[10:]]
    assert not told


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("Requires-Python", ">=3.6.*", [">=3.6"]),
        ("Requires-Python", ">=3.6.*, !=3.7.*", [">=3.6, !=3.7.*"]),
        ("Requires-Python", "'>=3.6'", [">=3.6"]),
        ("Requires-Python", "3.6+", []),
        ("Requires-Dist", "numpy>=1.7.*", ["numpy>=1.7"]),
        ("Requires-Dist", "numpy[fast]>=1.x ; python_version<'3'", ["numpy[fast] ; python_version<'3'"]),
        ("Requires-Dist", "pytz==2004d", ["pytz"]),
        ("Requires-Dist", "numpy=1.0", ["numpy"]),
        ("Requires-Dist", "foo @ file:///home/runner/foo-1.0.whl", ["foo"]),
        ("Requires-Dist", "foo[a]@ https://x.org/f.whl ; extra == 'b'", ["foo[a] ; extra == 'b'"]),
        ("Requires-Dist", "-r requirements.txt", []),
        ("Requires-Dist", "not a requirement", []),
        ("Requires-Dist", "https://example.org/foo.whl", []),
        ("Classifier", "Natural Language :: Ukranian", ["Natural Language :: Ukrainian"]),
        ("Classifier", "License :: OSI Approved :: Intel Open MemberSource License", []),
        ("Classifier", "Made :: Up", []),
        ("Provides-Extra", "not an extra", []),
        ("Dynamic", "Version", []),
        ("Dynamic", "Nonsense", []),
        ("Home-page", "example.org", []),
        ("Home-page", "ftp://example.org", []),
        ("Download-URL", "see the home page", []),
        ("Author-email", "j at example dot org", []),
        ("Maintainer-email", "J Doe <j@localhost>", []),
        ("Project-URL", "https://example.org", []),
        ("Project-URL", "MemberSource, see there", []),
    ],
)
def test_what_is_invalid_is_repaired_or_left_out_and_told(field: str, value: str, kept: list[str]) -> None:
    assert one(field, value) == (kept, 1)


def test_old_parentheses_read_the_same_without_a_word() -> None:
    assert one("Requires-Dist", "numpy (>=1.0,<2) ; python_version < '3.12'") == (['numpy<2,>=1.0; python_version < "3.12"'], 0)


def test_obsolete_fields_and_doubles_go() -> None:
    document, told = mended("Requires: numpy", "Provides: demo", "Obsoletes: old", "Requires-Dist: a", "Requires-Dist: a")
    assert document.fields[3:] == (("Requires-Dist", "a"),)
    assert not told


def test_labels_are_cut_to_what_pypi_takes_and_none_comes_twice() -> None:
    long = "A-label-that-is-much-longer-than-thirty-two-characters"
    document, told = mended(
        f"Project-URL: {long}, https://a.org", "Project-URL: Home, https://b.org", "Project-URL: Home, https://c.org"
    )
    assert document.all("Project-URL") == [f"{long[:32]}, https://a.org", "Home, https://b.org"]
    assert len(told) == 1


@pytest.mark.parametrize(("length", "kept"), [(512, 512), (513, 512), (5000, 512)])
def test_a_long_summary_is_cut(length: int, kept: int) -> None:
    (summary,), _ = one("Summary", "x" * length)
    assert len(summary) == kept
    assert summary.endswith("x" if length <= 512 else "…")


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        (None, "text/x-rst"),
        ("text/markdown", "text/markdown"),
        ("text/markdown; charset=utf-8; variant=gfm", "text/markdown; charset=UTF-8"),
        ("text/markdown; charset=UTF-8; variant=GFM", "text/markdown; charset=UTF-8; variant=GFM"),
        ('Text/Markdown; variant="CommonMark"', "text/markdown; variant=CommonMark"),
        ("text/plain; charset=latin-1", "text/plain; charset=UTF-8"),
        ("text/x-rst;variant=GFM", "text/x-rst"),
        ("text/html", "text/plain"),
        ("markdown", "text/plain"),
    ],
)
def test_the_content_type_is_one_that_pypi_knows(declared: str | None, written: str) -> None:
    lines = [f"Description-Content-Type: {declared}"] if declared else []
    assert mended(*lines, body="text\n")[0].all("Description-Content-Type") == [written]
    assert mended(*lines)[0].all("Description-Content-Type") == []  # nothing is described


@pytest.mark.parametrize(
    ("lines", "index", "written"),
    [
        (["License-Expression: mit", "License: MIT"], {}, {"License-Expression": ["MIT"]}),
        (["License-Expression: MIT", "Classifier: License :: OSI Approved :: MIT License"], {}, {"License-Expression": ["MIT"]}),
        (["License-Expression: MIT/X11", "License: other"], {}, {"License": ["MIT/X11"]}),
        (["License: BSD"], {"license": "MIT"}, {"License": ["BSD"]}),
        (
            ["License: MIT License", "  Copyright (c)", "        Permission: granted"],
            {},
            {"License": ["MIT License Copyright (c) Permission: granted"]},
        ),
        ([], {"license": "BSD-3-Clause"}, {"License-Expression": ["BSD-3-Clause"]}),
        ([], {"license": "bsd-3-clause and Apache-2.0"}, {"License-Expression": ["BSD-3-Clause AND Apache-2.0"]}),
        ([], {"license": "BSD-3"}, {"License": ["BSD-3"]}),
        ([], {"license": None}, {}),
        (["License: UNKNOWN"], {"license": "MIT"}, {"License-Expression": ["MIT"]}),
    ],
)
def test_a_license_is_said_once_and_in_spdx_where_it_is(
    lines: list[str], index: dict[str, Any], written: dict[str, list[str]]
) -> None:
    document, _ = mended(*lines, index=index)
    names = ("License", "License-Expression", "Classifier")
    assert {name: document.all(name) for name in names if document.all(name)} == written


@given(st.text(max_size=40) | st.lists(st.sampled_from(["MIT", "OR", "AND", "WITH", "(", ")", "GPL-2.0+", "x"])).map(" ".join))
def test_any_text_is_spdx_or_not(text: str) -> None:
    found = spdx_expression(text)
    assert found is None or spdx_expression(found) == found


def test_a_missing_summary_comes_from_about_or_the_recipe() -> None:
    assert mended(about={"summary": " Shows \n things "})[0].get("Summary") == "Shows things"
    recipe = {"recipe": {"about": {"summary": "From the recipe"}}}
    assert mended(rendered_recipe=recipe)[0].get("Summary") == "From the recipe"
    assert mended("Summary: Own", about={"summary": "Other"})[0].all("Summary") == ["Own"]


def test_generated_metadata_uses_all_that_conda_knows() -> None:
    about = {
        "home": ["https://demo.org", "https://other.org"],
        "doc_url": "not a url",
        "dev_url": "https://git.org/demo",
        "description": "# demo\n\nRequires-Dist: none\n",
        "summary": "Shows",
        "extra": {"recipe-maintainers": ["somebody"]},
    }
    recipe = {"about": {"documentation": "https://docs.org", "license": "MIT"}, "extra": {}}
    package = CondaPackage("demo", (), {"name": "demo", "version": "1.0"}, about=about, recipe=recipe)
    document, _ = corrected(generated(package, ">=3.9"), package, "demo", "1.0", ["numpy>=2"])
    assert dict(document.fields) == {
        "Metadata-Version": "2.4",
        "Name": "demo",
        "Version": "1.0",
        "Summary": "Shows",
        "Requires-Python": ">=3.9",
        "Project-URL": "Repository, https://git.org/demo",
        "Description-Content-Type": "text/markdown",
        "Requires-Dist": "numpy>=2",
        "License-Expression": "MIT",
    }
    assert document.all("Project-URL") == [
        "Homepage, https://demo.org", "Documentation, https://docs.org", "Repository, https://git.org/demo",
    ]  # fmt: skip
    assert document.body == "# demo\n\nRequires-Dist: none"


@pytest.mark.parametrize(
    "about", [{"home": 5, "summary": ["a", "b"], "description": {"x": 1}}, {"license": ["MIT"]}, {"home": None}]
)
def test_odd_types_in_about_are_no_crash(about: dict[str, Any]) -> None:
    package = CondaPackage("demo", (), {"name": "demo", "version": "1.0"}, about=about, recipe={"about": "x"})
    document, _ = corrected(generated(package, None), package, "demo", "1.0", None)
    Metadata.from_email(document.encode(), validate=True)


def test_a_recipe_with_templates_left_in_it_says_nothing() -> None:
    recipe = {"about": {"home": "https://x.org/${{ version }}", "summary": "${{ name }} shows"}}
    assert mended(recipe=recipe)[0].get("Summary") is None


def test_setuptools_requires_txt_has_extras_and_markers() -> None:
    text = (
        "numpy>=1\n# comment\n\n[:python_version < '3.12']\nsix\n[test]\npytest (>=7)\n"
        "[docs:sys_platform == 'linux' or os_name == 'nt']\nsphinx; python_version > '3'\n[odd extra]\nfoo\n"
    )
    requires = egg_requirements(text)
    document = with_provides_extra(corrected(Document(), CondaPackage("d", (), {}), "d", "1", requires)[0])
    parsed = [Requirement(r) for r in document.all("Requires-Dist")]
    assert [r.name for r in parsed] == ["numpy", "six", "pytest", "sphinx", "foo"]
    assert document.all("Provides-Extra") == ["docs", "test"]
    sphinx = parsed[3].marker
    assert sphinx is not None
    here = {"sys_platform": "emscripten", "os_name": "posix", "python_version": "3.13"}
    assert not sphinx.evaluate({**here, "extra": "docs"})
    assert sphinx.evaluate({**here, "sys_platform": "linux", "extra": "docs"})
    assert not sphinx.evaluate({**here, "os_name": "nt", "extra": ""})


def test_an_extra_that_only_a_marker_names_is_provided() -> None:
    document = with_provides_extra(
        mended("Requires-Dist: a; extra == 'Fast_Path'", "Provides-Extra: other", "Provides-Extra: fast-path")[0]
    )
    assert document.all("Provides-Extra") == ["other", "fast-path"]
    document = with_provides_extra(mended("Requires-Dist: a; python_version > '3' and extra=='x'", "Provides-Extra: other")[0])
    assert document.all("Provides-Extra") == ["other", "x"]


def test_license_files_old_and_new_lie_where_pypi_looks(tmp_path: Path) -> None:
    more: dict[str, Content] = {
        "LICENSE": "ours\n",
        "COPYING.LESSER": "lesser\n",
        "licenses/sub/NOTICE": "notice\n",
        "legal.txt": "terms\n",
    }
    info = dist_info("demo-1.0", "License-File: LICENSE", "License-File: legal.txt", "License-File: GONE", more=more)
    licenses: dict[str, Content] = {"LICENSE": "conda's own\n", "SAME": "lesser\n"}
    wheel = made(package({**MODULE, **info}, licenses=licenses), tmp_path)
    texts = {name.removeprefix("licenses/"): wheel.read(name) for name in wheel.described if name.startswith("licenses/")}
    assert texts == {
        "LICENSE": b"ours\n",
        "COPYING.LESSER": b"lesser\n",
        "sub/NOTICE": b"notice\n",
        "legal.txt": b"terms\n",
        "conda/LICENSE": b"conda's own\n",
    }
    assert wheel.fields("License-File") == sorted(texts)
    assert "missing-license" in wheel.codes
    assert not {"LICENSE", "COPYING.LESSER", "legal.txt"} & wheel.described


def test_everything_wrong_at_once_still_makes_a_wheel_that_pypi_takes(tmp_path: Path) -> None:
    metadata = (
        "Metadata-Version: 2.5\nName: Demo\nVersion: 0.0.0\nSummary: " + "long " * 200 + "\nHome-page: UNKNOWN\n"
        "Author-email: nobody\nLicense: MIT License\n        \n        Copyright\nLicense-Expression: MIT\n"
        "Classifier: Made :: Up\nClassifier: License :: OSI Approved :: MIT License\n"
        "Classifier: Natural Language :: Ukranian\nRequires-Python: >=3.6.*\nRequires-Dist: numpy (>=1.7.*)\n"
        "Requires-Dist: foo @ https://x.org/f.whl\nRequires-Dist: junk here\nRequires: old\n"
        "Provides-Extra: bad extra\nDynamic: Nonsense\nImport-Name: demo\nProject-URL: nothing\nLicense-File: GONE\n"
        "Description-Content-Type: text/html\n\nRequires-Dist: evil\n"
    )
    wheel = made(package({**MODULE, **dist_info("Demo-0.0.0", metadata=metadata)}, about={"license": "MIT"}), tmp_path)
    assert wheel.fields("Requires-Dist") == ["numpy>=1.7", "foo"]
    assert wheel.fields("License-Expression") == ["MIT"]
    assert wheel.fields("Classifier") == ["Natural Language :: Ukrainian"]
    assert {"metadata-field", "missing-license", "version-mended"} <= wheel.codes


def test_a_wheel_without_any_metadata_is_described_by_conda(tmp_path: Path) -> None:
    about = {"homepage": "https://demo.org", "license": "BSD-3-Clause", "summary": "Shows", "description": "It *shows*."}
    recipe: dict[str, Content] = {"recipe.yaml": "about:\n  repository: https://git.org/demo\n"}
    nothing = package(dict(MODULE), about=about, recipe=recipe, licenses={"COPYING": "free\n"}, depends=["python", "numpy >=2"])
    wheel = made(nothing, tmp_path)
    assert wheel.described == {"METADATA", "WHEEL", "RECORD", "licenses/COPYING"}
    assert wheel.metadata["Summary"] == "Shows"
    assert wheel.metadata["License-Expression"] == "BSD-3-Clause"
    assert wheel.fields("Project-URL") == ["Homepage, https://demo.org/", "Repository, https://git.org/demo"]
    assert wheel.metadata["Description-Content-Type"] == "text/markdown"
    assert str(wheel.metadata.get_payload()).strip() == "It *shows*."
    assert wheel.fields("Requires-Dist") == ["numpy>=2"]
    assert shapes.ABI[1] not in wheel.fields("Requires-Dist")
