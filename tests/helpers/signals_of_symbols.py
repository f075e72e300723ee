"""Signals of one symbol with several definitions: the main module's, another library's, another wheel's, another instance's."""

from __future__ import annotations

from tests.helpers.signals import Shelf, answer, library, module, placed

ORIGIN = "$ORIGIN"
DYNAMIC = ("--export-dynamic",)  # as emcc links -sSIDE_MODULE=1: a library's own names go through the table, too
VISIBLE = ("-fvisibility=default",)  # ziglang's clang hides unless told otherwise, and what is hidden has no entry in a table


def put(shelf: Shelf) -> None:
    """All of them."""
    _main_wins(shelf)
    _clashes(shelf)
    _same_file_name(shelf)
    _instances(shelf)


def _main_wins(shelf: Shelf) -> None:
    source = (
        'const char *zlibVersion(void) { return "*"; } const char *zError(int e) { return "*"; }\n'
        "const char *(*through(void))(void) { return zlibVersion; }"
    )
    made = library("libz_of_ours.so", source, ["zlibVersion", "zError", "through"], cflags=VISIBLE, ldflags=DYNAMIC)
    declared = "extern const char *zlibVersion(void); extern const char *(*through(void))(void);"
    using = module("other_zlib", answer("*zlibVersion()"), declared, needed=["libz_of_ours.so"])
    shelf.one("other_zlib", {**using, **made}, "wrong", "main-wins")
    pointer = "extern const char *(*through_pointer(void))(void);"
    made = library(
        "libz_pointer.so",
        source.replace("through", "through_pointer"),
        ["zlibVersion", "through_pointer"],
        cflags=VISIBLE,
        ldflags=DYNAMIC,
    )
    using = module("zlib_pointer", answer("*through_pointer()()"), pointer, needed=["libz_pointer.so"])
    shelf.one("zlib_pointer", {**using, **made}, "wrong", "main-wins")
    inside = 'static const char *zlibVersion_(void) { return "*"; } int hidden_zlib(void) { return *zlibVersion_(); }'
    made = library("libz_hidden.so", inside, ["hidden_zlib"])
    using = module("hidden_zlib_user", answer("hidden_zlib()"), "extern int hidden_zlib(void);", needed=["libz_hidden.so"])
    shelf.one("hidden_zlib_user", {**using, **made}, "right")


def _clashes(shelf: Shelf) -> None:
    """Two wheels, each with its version of one library under a file name of its own; the second one answers."""
    source = (
        "int {n}_value(void) {{ return {v}; }} int {n}_data = {v}; int (*{n}_pointer(void))(void) {{ return {n}_value; }}\n"
        "static int calls; int {n}_private(void) {{ return ++calls; }}"
    )
    exports = ["{n}_value", "{n}_data", "{n}_pointer", "{n}_private"]
    declared = "extern int {n}_value(void), {n}_data, {n}_private(void); extern int (*{n}_pointer(void))(void);"
    for name, said, came, code in (
        ("clash_called", "{n}_value()", "odd", "symbol-clash"),
        ("clash_data", "{n}_data", "wrong", "symbol-clash"),
        ("clash_pointer", "{n}_pointer()()", "wrong", "symbol-clash"),
    ):
        wheels = {}
        for version, number in (("one", 7), ("two", 42)):
            file = f"lib{name}_{version}.so"
            names = [symbol.format(n=name) for symbol in exports]
            made = library(file, source.format(n=name, v=number), names, cflags=VISIBLE, ldflags=DYNAMIC)
            using = module(f"{name}_{version}", answer(said.format(n=name)), declared.format(n=name), needed=[file])
            wheels[f"{name}_{version}"] = {**made, **using}
        shelf.many(name, wheels, came, code, f"{name}_two")
    hidden = "static int value(void) {{ return {v}; }} int unlike_{w}(void) {{ return value(); }}"
    wheels = {}
    for version, number in (("one", 7), ("two", 42)):
        made = library(f"libunlike_{version}.so", hidden.format(v=number, w=version), [f"unlike_{version}"])
        declaration = f"extern int unlike_{version}(void);"
        using = module(f"unlike_{version}", answer(f"unlike_{version}()"), declaration, needed=[f"libunlike_{version}.so"])
        wheels[f"unlike_{version}"] = {**made, **using}
    shelf.many("unlike", wheels, "right", None, "unlike_two")
    classes = (
        "struct Shape {{ virtual int area() const; virtual ~Shape(); int side; }};\n"
        "Shape::~Shape() {{}} int Shape::area() const {{ return {v}; }}\n"
        "static Shape *volatile shape;\n"
        'extern "C" int area_{w}(void) {{ Shape made; shape = &made; return shape->area(); }}'
    )
    wheels = {}
    for version, number in (("one", 7), ("two", 42)):
        made = library(
            f"libshape_{version}.so",
            classes.format(v=number, w=version),
            [f"area_{version}", "_ZTV5Shape", "_ZNK5Shape4areaEv", "_ZN5ShapeD1Ev", "_ZN5ShapeD0Ev"],
            cflags=("-x", "c++", "-fno-exceptions", *VISIBLE),
            ldflags=DYNAMIC,
        )
        using = module(
            f"shape_{version}",
            answer(f"area_{version}()"),
            f"extern int area_{version}(void);",
            needed=[f"libshape_{version}.so"],
        )
        wheels[f"shape_{version}"] = {**made, **using}
    shelf.many("shape", wheels, "wrong", "symbol-clash", "shape_two")


def _same_file_name(shelf: Shelf) -> None:
    """Two wheels with different libraries of one file name: by 0.27 the first is taken for both; later ones by their place."""
    wheels = {}
    for version, number in (("one", 7), ("two", 42)):
        made = library("libsame.so", f"int same_value(void) {{ return {number}; }}", ["same_value"])
        folder = f"same_{version}"
        using = module(
            f"user_{version}",
            answer("same_value()"),
            "extern int same_value(void);",
            needed=["libsame.so"],
            rpath=[f"{ORIGIN}/../{folder}.libs"],
        )
        wheels[folder] = {**placed(f"{folder}.libs", made), **placed(folder, using)}
    shelf.many("same_file_name", wheels, "wrong right right", "library-clash", "same_two.user_two")


def _instances(shelf: Shelf) -> None:
    """One library with private state, found by two modules at different depths: where paths are not normalised, twice."""
    source = "static int count; int {n}_count(void) {{ return ++count; }} int {n}_data = 42;"
    for name, rpaths, came, code in (
        ("depths", (f"{ORIGIN}/../depths.libs", f"{ORIGIN}/../../depths.libs"), "right wrong right", "duplicate-instance"),
        ("beside_both", (ORIGIN, f"{ORIGIN}/.."), "right wrong right", "duplicate-instance"),
        ("one_folder", (ORIGIN, ORIGIN), "right right right", None),
    ):
        made = library(f"lib{name}.so", source.format(n=name), [f"{name}_count", f"{name}_data"])
        folders = {"depths": "depths.libs", "beside_both": "beside_both", "one_folder": "one_folder"}
        deep = "one_folder" if name == "one_folder" else f"{name}/sub"
        declared = f"extern int {name}_count(void), {name}_data;"
        upper = module(f"{name}_upper", f"{name}_count(); {answer('0')}", declared, needed=[f"lib{name}.so"], rpath=[rpaths[0]])
        lower = module(f"{name}_lower", answer(f"{name}_count() + 40"), declared, needed=[f"lib{name}.so"], rpath=[rpaths[1]])
        imports = f"import {name}.{name}_upper as upper, {deep.replace('/', '.')}.{name}_lower as lower"
        both = f"{imports}\nupper.go()\nresult = lower.go()"
        files = {**placed(name, upper), **placed(deep, lower), **placed(folders[name], made)}
        shelf.many(name, {name: files}, came, code, script=both)
