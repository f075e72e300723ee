"""The configuration of a mirror: mistakes are reported with their lines, and only options that change bytes convert again."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from conda2wheel import Failed
from conda2wheel.mirror import config as mirror_config
from conda2wheel.mirror.config import MirrorConfig, load, template

LEAST = '[channel]\nurls = ["emscripten-forge-4x"]\n[output]\nstore = "public"\n'


def write(tmp_path: Path, text: str = LEAST) -> Path:
    path = tmp_path / "mirror.toml"
    path.write_text(text)
    return path


def error_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(Failed) as caught:
        load(write(tmp_path, text))
    assert caught.value.code == "usage"
    return caught.value.message


def uncommented() -> str:
    """The template with every default written out."""
    return re.sub(r"^# (?=\w+ = )", "", template(), flags=re.MULTILINE)


def test_the_template_is_valid_and_its_comments_show_the_defaults(tmp_path: Path) -> None:
    made = load(write(tmp_path, template()))
    assert made.select.versions == 3
    assert made.output.store == str(tmp_path / "public")
    examples = ("command", "webhook", "metrics", "note", "pypi", "url =")
    whole = "".join(line for line in uncommented().splitlines(True) if not line.startswith(examples))
    spelled = load(write(tmp_path, whole))
    assert replace(spelled, limits=made.limits) == made
    assert replace(spelled.limits, download=made.limits.download) == made.limits  # the limit of the one is the limit of the other


def test_the_template_has_every_key() -> None:
    document = tomllib.loads(uncommented())
    assert {name: set(keys) for name, keys in document.items()} == {
        name: {*keys} - {"compat_tags"} for name, keys in mirror_config.SECTIONS.items()
    }


def test_missing_keys_have_defaults_and_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, LEAST.replace("emscripten-forge-4x", "./channel"))
    monkeypatch.chdir(tmp_path.parent)
    made = load(f"{tmp_path.name}/mirror.toml")
    assert made.channels == (str(tmp_path / "channel"),)
    assert made.state == tmp_path / "mirror.sqlite"
    assert made.convert.tags == "both"
    assert (made.platforms, made.work.memory, made.output.grace) == (("auto",), 4 << 30, 30 * 86400)


def test_the_older_name_of_tags_still_counts_and_stands_alone(tmp_path: Path) -> None:
    for text, form in (("compat_tags = true", "both"), ("compat_tags = false", None), ('tags = "pyodide"', "pyodide")):
        assert load(write(tmp_path, f"{LEAST}[convert]\n{text}\n")).options().tags == form
    assert ":7: compat_tags" in error_of(tmp_path, f'{LEAST}[convert]\ntags = "both"\ncompat_tags = true\n')
    assert "it is" in error_of(tmp_path, f'{LEAST}[work]\ncheck = "9"\n')


def test_a_bucket_is_not_flat(tmp_path: Path) -> None:
    text = '[channel]\nurls = ["x"]\n[output]\nstore = "s3://bucket/x"\nflat = true\n'
    assert ":5: flat is for a store in a folder" in error_of(tmp_path, text)


def test_sizes_and_durations_are_read(tmp_path: Path) -> None:
    text = LEAST + 'grace = "2w"\n[work]\nmemory = "512M"\ntimeout = "90s"\n[limits]\nsize = "1G"\n'
    made = load(write(tmp_path, text))
    assert (made.work.memory, made.work.timeout, made.output.grace) == (512 << 20, 90, 14 * 86400)
    assert (made.limits.size, made.limits.download) == (1 << 30, 1 << 30)


WRONG = [
    ('[share]\nlibraries = "all"\n', 6, "libraries is 'all'; it is \"auto\" or a list of conda names"),
    ("[share]\nlibraries = 3\n", 6, "libraries is not a list of texts"),
    ('[share]\nlibraries = "auto"\nprefix = ".x "\n', 7, "a distribution's name cannot begin so"),
    ("[wrok]\nworkers = 2\n", 5, "did you mean work?"),
    ("[work]\nworkres = 2\n", 6, "did you mean workers?"),
    ("[work]\ncolour = 2\n", 6, "it may have workers, memory, timeout, retries, check"),
    ("[work]\nworkers = true\n", 6, "workers is not a whole number"),
    ("[work]\nworkers = -1\n", 6, "it is 0 or more"),
    ('[work]\nmemory = "much"\n', 6, "'much' is not a size; write 500M or 8G"),
    ('[work]\ntimeout = "30"\n', 6, "'30' is not a duration"),
    ('[work]\ntimeout = "0s"\n', 6, "'0s' must be more than zero"),
    ('[work]\ncheck = "maybe"\n', 6, "no, yes or a Pyodide version"),
    ('[select]\ninclude = [\n  "numpy >=2",\n  "pandas >>2",\n]\n', 8, "'pandas >>2' is no match spec"),
    ('[select]\nclasses = ["pyhton"]\n', 6, "did you mean python?"),
    ("[convert]\nlevel = 13\n", 6, "it is 1 to 12"),
    ('[convert]\nallow = ["not-python"]\n', 6, "allow has 'not-python'"),
    ('[convert]\nrecipes = ["no-such-folder"]\n', 6, "no such folder"),
    ("[notify]\n# a comment\nwhen = 3\n", 7, "when is not a text"),
    ('url = "wheels/"\n', 5, "url is not the http or https address of a folder"),
    ('[notify]\nwebhook = "ftp://x"\n', 6, "webhook is not an https URL"),
    ("state = 3\n", 5, "[output] has no state"),
]


@pytest.mark.parametrize(("text", "line", "why"), WRONG)
def test_a_mistake_is_reported_with_its_line(text: str, line: int, why: str, tmp_path: Path) -> None:
    message = error_of(tmp_path, LEAST + text)
    assert message.startswith(f"{tmp_path / 'mirror.toml'}:{line}: ")
    assert why in message


def test_all_mistakes_are_reported_together_in_the_order_of_their_lines(tmp_path: Path) -> None:
    message = error_of(tmp_path, '[work]\nworkres = 1\n[channel]\nplatforms = ["pyodide_1066_0"]\n[output]\nstore = ""\n')
    assert re.findall(r"toml:(\d+): ", message) == ["2", "3", "4", "6"]
    assert "[channel] has no urls" in message


def test_no_toml_and_no_file(tmp_path: Path) -> None:
    assert "line 1" in error_of(tmp_path, "channel = \n")
    with pytest.raises(Failed, match="no such file") as caught:
        load(tmp_path / "none.toml")
    assert "mirror init" in caught.value.hint


def test_a_mistake_in_a_recipe_is_reported_with_its_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "demo.toml").write_text('package = "demo"\nwhy = "a test"\ncolour = 1\n')
    assert "recipes/demo.toml:3: " in error_of(tmp_path, LEAST + '[convert]\nrecipes = ["recipes"]\n')


BYTES = ["compat_tags = false", 'pins = "conda"', "isolate = false", "provided = false", 'allow = ["abi-conflict"]', "level = 9"]
BYTES += ["strict = true", 'tags = "pep783"', 'tags = "pyodide"']


@pytest.mark.parametrize("line", BYTES)
def test_an_option_that_changes_bytes_changes_the_digest(line: str, tmp_path: Path) -> None:
    before = load(write(tmp_path))
    after = load(write(tmp_path, LEAST + f"[convert]\n{line}\n"))
    assert after.options_digest != before.options_digest
    assert after.digest_of("numpy") != before.digest_of("numpy")


def test_nothing_else_changes_the_digest(tmp_path: Path) -> None:
    """Every section but [convert], with another value for each number, text and list in it."""
    before = load(write(tmp_path))
    document = tomllib.loads(uncommented())
    other = {
        "4G": "1G",
        "30m": "1m",
        "8G": "1G",
        "2G": "1G",
        "30d": "1d",
        "no": "yes",
        "auto": "pyodide_2025_0",
        "shared-": "forge-",
    }
    lines = []
    for name, table in document.items():
        lines.append(f"[{name}]")
        for key, value in table.items() if name != "convert" else ():
            texts = [other.get(each, each) for each in value] if isinstance(value, list) else other.get(value, value)
            changed = not value if isinstance(value, bool) else 7 if isinstance(value, int) else texts
            lines.append(f"{key} = {json.dumps(changed)}")
    after = load(write(tmp_path, "\n".join(lines) + "\n"))
    for section in ("select", "share", "work", "output", "limits", "platforms", "notify"):
        assert getattr(after, section) != getattr(before, section)
    assert after.options_digest == before.options_digest


def test_source_date_epoch_changes_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(write(tmp_path)).digest_of("numpy")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert load(write(tmp_path)).digest_of("numpy") != before


def with_recipe(tmp_path: Path, why: str) -> MirrorConfig:
    (tmp_path / "recipes").mkdir(exist_ok=True)
    (tmp_path / "recipes" / "demo.toml").write_text(f'package = "demo"\nwhy = "{why}"\n')
    return load(write(tmp_path, LEAST + '[convert]\nrecipes = ["recipes"]\n'))


def test_a_recipe_converts_its_own_package_again_and_no_other(tmp_path: Path) -> None:
    without = load(write(tmp_path))
    one, other = with_recipe(tmp_path, "one"), with_recipe(tmp_path, "other")
    assert len({each.digest_of("demo") for each in (without, one, other)}) == 3
    assert len({each.digest_of("numpy") for each in (without, one, other)}) == 1
    assert len({each.options_digest for each in (without, one, other)}) == 3


def test_a_comment_in_a_recipe_converts_nothing_again(tmp_path: Path) -> None:
    before = with_recipe(tmp_path, "one").options_digest
    path = tmp_path / "recipes" / "demo.toml"
    path.write_text("# a comment\n" + path.read_text())
    assert load(tmp_path / "mirror.toml").options_digest == before


def test_a_key_is_of_package_version_options_and_platform(tmp_path: Path) -> None:
    from conda2wheel import __version__

    made = load(write(tmp_path))
    key = made.key("ab" * 32, "Numpy", "auto")
    assert (key.package, key.converter, key.options, key.platform) == ("ab" * 32, __version__, made.digest_of("numpy"), "auto")
    assert replace(made, note="x").key("ab" * 32, "numpy", "auto") == key
