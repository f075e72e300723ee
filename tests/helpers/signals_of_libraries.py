"""Signals of how libraries are NEEDed and found: places, forms of RUNTIME_PATH, names with slashes, what a scope has in it."""

from __future__ import annotations

from collections.abc import Sequence

from tests.helpers.signals import Shelf, answer, library, module, placed

ORIGIN = "$ORIGIN"
SITE = "/lib/python{}/site-packages"


def put(shelf: Shelf) -> None:
    """All of them."""
    _places(shelf)
    _runtime_paths(shelf)
    _slashes(shelf)
    _scopes(shelf)


def found(
    shelf: Shelf,
    name: str,
    came: str,
    code: str | None = "missing-library",
    *,
    user: str = "",
    place: str = "",
    needed: str = "",
    rpath: Sequence[str] = (),
    first: bool = False,
    file: str = "",
) -> None:
    """A module in the folder `user` NEEDs a library that lies in the folder `place`; `first`: before it in the wheel."""
    file = file or f"lib{name}.so"
    function = f"in_{name}"
    made = library(file, f"int {function}(int a) {{ return a; }}", [function])
    using = module(
        name, answer(f"{function}(42)"), f"extern int {function}(int);", needed=[needed or f"lib{name}.so"], rpath=rpath
    )
    parts = [placed(user, using) if user else using, placed(place, made) if place else made]
    files = {path: data for part in (reversed(parts) if first else parts) for path, data in part.items()}
    shelf.one(name, files, came, code, f"{user}.{name}".lstrip("."))


def _places(shelf: Shelf) -> None:
    found(shelf, "nowhere", "load", file="libother.so")
    found(shelf, "in_site", "right", None, user="users1")
    found(shelf, "beside_it", "right load load", user="users2", place="users2")
    found(shelf, "below_it", "right load load", user="users3", place="users3/lib/deep")
    found(shelf, "in_libs", "right load load", user="users4", place="in_libs.libs")
    found(shelf, "elsewhere", "load", user="users5", place="else5")
    found(shelf, "loaded_before", "right load load", user="users6", place="else6", first=True)
    function = "in_another_wheel"
    made = library("libanother.so", f"int {function}(int a) {{ return a; }}", [function])
    using = module("another_wheel", answer(f"{function}(42)"), f"extern int {function}(int);", needed=["libanother.so"])
    wheels = {"another_library": placed("shared", made), "another_wheel": placed("users7", using)}
    shelf.many("another_wheel", wheels, "right load load", "missing-library", "users7.another_wheel")


def _runtime_paths(shelf: Shelf) -> None:
    code = "runtime-path-form missing-library"
    before = "load right right"  # 0.27 does not read RUNTIME_PATH
    found(shelf, "to_libs", before, user="paths1", place="else11", rpath=[f"{ORIGIN}/../else11"])
    found(shelf, "second_entry", before, user="paths2", place="else12", rpath=[f"{ORIGIN}/no", f"{ORIGIN}/../else12"])
    long = [f"{ORIGIN}/{'x' * 600}", f"{ORIGIN}/../else13"]
    found(shelf, "long_entry", before, user="paths3", place="else13", rpath=long)
    found(shelf, "braces", "load", code, user="paths4", place="else14", rpath=["${ORIGIN}/../else14"])
    colon = [f"{ORIGIN}/no:{ORIGIN}/../else15"]
    found(shelf, "colon_second", "load", code, user="paths5", place="else15", rpath=colon)
    colon = [f"{ORIGIN}/../else16:{ORIGIN}/no"]
    found(shelf, "colon_first", before, user="paths6", place="else16", rpath=colon)
    found(shelf, "relative", "right load load", code, user="paths7", place="paths7/sub", rpath=["sub"])
    found(shelf, "dot_first", "right load load", code, user="paths8", place="paths8/sub", rpath=[f"./{ORIGIN}/sub"])
    absolute = [SITE.format(python) + "/else17" for python in ("3.13", "3.14")]
    found(shelf, "absolute", before, user="paths9", place="else17", rpath=absolute)
    _miscounted(shelf)


def _miscounted(shelf: Shelf) -> None:
    """As auditwheel-emscripten 0.3.0 leaves it: IMPORT_INFO counts the modules, and RUNTIME_PATH comes after it."""
    weak = "extern int atoi(const char *) __attribute__((weak)); extern long atol(const char *) __attribute__((weak));"
    made = library("libmiscounted.so", "int in_miscounted(int a) { return a; }", ["in_miscounted"])
    body = answer('(atoi ? atoi("2") : 0) + (atol ? atol("20") : 0) + in_miscounted(20)')
    head = f"{weak} extern int in_miscounted(int);"
    ((name, data),) = module("miscounted", body, head, needed=["libmiscounted.so"], rpath=[ORIGIN]).items()
    two, one = b"\x02\x03env\x04ato", b"\x01\x03env\x04ato"
    assert data.count(two) == 1
    spoiled = {name: data.replace(two, one)}
    shelf.one(
        "miscounted",
        {**placed("paths10", spoiled), **placed("paths10", made)},
        "right load load",
        "missing-library",
        "paths10.miscounted",
    )


def _slashes(shelf: Shelf) -> None:
    code = "needed-path missing-library"
    found(shelf, "up_and_over", "right load load", code, user="slash1", place="else21", needed="../else21/libup_and_over.so")
    found(shelf, "below_site", "right load load", code, place="else22", needed="else22/libbelow_site.so")
    whole = SITE.format("3.13") + "/else23/libwhole_path.so"
    found(shelf, "whole_path", "load right load", code, user="slash2", place="else23", needed=whole)


def _scopes(shelf: Shelf) -> None:
    """A scope has what was loaded for a module, and of what was known before, only that itself."""
    code = "unresolved-symbol"
    for name, first, came in (("underlinked", False, "right"), ("underlinked_late", True, "fatal")):
        base = library(f"lib{name}_base.so", f"int base_{name}(int a) {{ return a; }}", [f"base_{name}"])
        count = library(
            f"lib{name}.so",
            f"extern int base_{name}(int); int count_{name}(int a) {{ return base_{name}(a); }}",
            [f"count_{name}"],
            needed=[f"lib{name}_base.so"],
        )
        using = module(
            name,
            answer(f"base_{name}(40) + count_{name}(2)"),
            f"extern int base_{name}(int), count_{name}(int);",
            needed=[f"lib{name}.so"],
        )
        files = {**base, **count, **using} if first else {**using, **base, **count}
        shelf.one(name, files, came, None if came == "right" else code)
    base = library("libunneeded.so", "int in_unneeded(int a) { return a; }", ["in_unneeded"])
    using = module("unneeded", answer("in_unneeded(42)"), "extern int in_unneeded(int);")
    shelf.one("unneeded", {**base, **using}, "fatal", code)
    source = "int unneeded_data = 2; int unneeded_function(int a) { return a; }"
    base = library("libpointed.so", source, ["unneeded_data", "unneeded_function"])
    body = "int (*volatile p)(int) = unneeded_function; " + answer("p(40) + unneeded_data")
    declared = "extern int unneeded_function(int), unneeded_data;"
    shelf.one("pointed_before", {**base, **module("pointed_before", body, declared)}, "right")
    late = source.replace("unneeded", "late")
    base = library("libpointed_late.so", late, ["late_data", "late_function"])
    using = module("pointed_after", body.replace("unneeded", "late"), declared.replace("unneeded", "late"))
    shelf.one("pointed_after", {**using, **base}, "right load load", code)
    weak = "extern int forgotten_f(int) __attribute__((weak)); extern int in_forgotten(int);"
    base = library("libforgotten.so", "int in_forgotten(int a) { return a; }", ["in_forgotten"])
    using = module("forgotten", answer("(forgotten_f ? 1 : 40) + in_forgotten(2)"), weak, needed=["libforgotten.so"])
    shelf.one("forgotten", {**using, **base}, "load load right", code)
    known = {path.replace("forgotten", "remembered"): data for path, data in base.items()}
    using = module("remembered", answer("(forgotten_f ? 1 : 40) + in_forgotten(2)"), weak, needed=["libremembered.so"])
    shelf.one("remembered", {**known, **using}, "right right right", "weak-missing")
