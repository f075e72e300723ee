"""Two versions of one library that are the same to every loader, and the extension modules that use them.

libshapes.so has the same file name and the same symbols in both versions, and another answer to everything: functions, pointers
to functions, data, private state, C++ classes with virtual tables and typeinfo, an inline function's static, exceptions of
WebAssembly's kind or of JavaScript's. libz.so is no zlib but has the names of one. Every number tells the version that it
comes from, and the layout of nothing differs: what is mixed up gives a wrong answer and no crash.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers import trials, zig

Answers = dict[str, Any]  # a function's name -> what it returns
DYNAMIC = ("--export-dynamic",)  # as emcc links -sSIDE_MODULE=1: every symbol can be taken, a library's own names as well
VISIBLE = "-fvisibility=default"  # ziglang's clang hides unless told otherwise
CXX = ("-x", "c++", "-std=c++17", VISIBLE)
FLAGS = {
    "wasm": (*CXX, "-fwasm-exceptions"),
    "js": (*CXX, "-fexceptions", "-mllvm", "-enable-emscripten-cxx-exceptions"),
}

HEADER = """
namespace std {
class exception { public: exception() {} virtual ~exception(); virtual const char *what() const; };
class runtime_error : public exception {
  const char *text;
 public:
  explicit runtime_error(const char *);
  ~runtime_error();
  const char *what() const override;
};
}
extern "C" {
typedef int (*shapes_function)(int);
extern int shapes_scale;
extern const char *const shapes_names[2];
int shapes_version(void);
void shapes_set(int value);
int shapes_get(void);
int shapes_tweak(int value);
shapes_function shapes_handler(void);
int shapes_apply(shapes_function function, int value);
void shapes_fail(int how);
int shapes_guard(void (*function)(void));
}
inline int shapes_tally() { static int calls; return ++calls; }
int shapes_tally_inside();
struct Shape {
  int side;
  Shape(int side) : side(side) {}
  virtual int area() const;
  virtual ~Shape();
};
struct Square : Shape {
  Square(int side) : Shape(side) {}
  int area() const override;
  ~Square() override;
};
struct Failure : std::runtime_error {
  int number;
  Failure(const char *text, int number);
  ~Failure() override;
};
Shape *shapes_make(int square, int side);
bool shapes_is_square(const Shape *shape);
"""
LIBRARY = """
static int state;
__attribute__((constructor)) static void start() { state = 100 * VERSION; }
int shapes_scale = 10 * VERSION;
const char *const shapes_names[2] = {NAME, "end"};
int shapes_version(void) { return VERSION; }
void shapes_set(int value) { state = value; }
int shapes_get(void) { return state; }
int shapes_tweak(int value) { return value * VERSION; }
shapes_function shapes_handler(void) { return shapes_tweak; }
int shapes_apply(shapes_function function, int value) { return function(value) + 1000 * VERSION; }
int shapes_tally_inside() { return shapes_tally(); }
int Shape::area() const { return side * VERSION; }
Shape::~Shape() {}
int Square::area() const { return side * side * VERSION; }
Square::~Square() {}
Failure::Failure(const char *text, int number) : std::runtime_error(text), number(number) {}
Failure::~Failure() {}
Shape *shapes_make(int square, int side) { return square ? new Square(side) : new Shape(side); }
bool shapes_is_square(const Shape *shape) { return dynamic_cast<const Square *>(shape); }
void shapes_fail(int how) {
  if (how == 0) throw Failure("failure of " NAME, 20 + VERSION);
  if (how == 1) throw std::runtime_error("error of " NAME);
  throw 30 + VERSION;
}
int shapes_guard(void (*function)(void)) {
  try { function(); } catch (const Failure &failure) { return failure.number; } catch (const std::exception &) { return -1; }
  return 0;
}
"""
USER = """
namespace USER {
struct Mine : Square { Mine() : Square(4) {} int area() const override { return Square::area() + 1; } };
static Shape *volatile kept;
static int (*volatile version)(void) = shapes_version;
static int (*volatile get)(void) = shapes_get;
static int own(int value) { return value + 7; }
static int virtual_area() { Square square(3); kept = &square; return kept->area(); }
static int made(int square) { kept = shapes_make(square, 3); int area = kept->area(); delete kept; return area; }
static int cast(int square) {
  kept = shapes_make(square, 5);
  Square *found = dynamic_cast<Square *>((Shape *)kept);
  int side = found ? found->side : 0;
  delete kept;
  return side;
}
static int derived() { Mine mine; kept = &mine; return 1000 * shapes_is_square(kept) + kept->area(); }
static int caught() { try { shapes_fail(0); } catch (const Failure &failure) { return failure.number; } return 0; }
static int caught_int() { try { shapes_fail(2); } catch (int number) { return number; } return 0; }
static PyObject *caught_std(int how) {
  try { shapes_fail(how); } catch (const std::exception &error) { return PyUnicode_FromString(error.what()); }
  return 0;
}
static void thrower() { throw Failure("thrown into the library", NUMBER); }
}
using namespace USER;
"""
CALLS = {
    "version": zig.integer("shapes_version()"),
    "version_by_pointer": zig.integer("version()"),
    "scale": zig.integer("shapes_scale"),
    "name": "PyUnicode_FromString(shapes_names[0])",
    "state_at_first": zig.integer("shapes_get()"),
    "set": zig.integer("(shapes_set(NUMBER), 0)"),
    "state": zig.integer("shapes_get()"),
    "state_by_pointer": zig.integer("get()"),
    "handler": zig.integer("shapes_handler()(6)"),
    "callback": zig.integer("shapes_apply(own, 5)"),
    "tweak_as_callback": zig.integer("shapes_apply(shapes_tweak, 5)"),
    "tally": zig.integer("(shapes_tally(), shapes_tally_inside())"),
    "virtual_area": zig.integer("virtual_area()"),
    "made_shape": zig.integer("made(0)"),
    "made_square": zig.integer("made(1)"),
    "cast_square": zig.integer("cast(1)"),
    "cast_shape": zig.integer("cast(0)"),
    "derived": zig.integer("derived()"),
    "caught": zig.integer("caught()"),
    "caught_int": zig.integer("caught_int()"),
    "caught_as_std": "caught_std(0)",
    "caught_std": "caught_std(1)",
    "thrown_into_it": zig.integer("shapes_guard(thrower)"),
}
FIRST = ("state_at_first", "set")  # of every module, before anything else is called of any


def shapes(version: int, unwinding: str = "wasm") -> Path:
    """libshapes.so of a version."""
    name = f'-DNAME="shapes {version}"'
    flags = [*FLAGS[unwinding], f"-DVERSION={version}", name]
    return zig.shared_library("libshapes.so", HEADER + LIBRARY, cflags=flags, ldflags=DYNAMIC)


def shapes_user(name: str, number: int, python: str, unwinding: str = "wasm") -> Path:
    """An extension module that uses libshapes.so, of whichever version; `number` is the state that it sets."""
    source = zig.extension(name, CALLS, declarations=f'extern "C++" {{{HEADER}{USER}}}')
    flags = [*FLAGS[unwinding], f"-DUSER=of_{name}", f"-DNUMBER={number}"]
    needed = ["libshapes.so"]
    return zig.side_module(name, f'extern "C" {{\n{source}}}', python=python, needed=needed, cflags=flags, ldflags=DYNAMIC)


def shapes_answers(version: int, number: int) -> Answers:
    """What each function of `shapes_user` must return."""
    return {
        "version": version,
        "version_by_pointer": version,
        "scale": 10 * version,
        "name": f"shapes {version}",
        "state_at_first": 100 * version,
        "set": 0,
        "state": number,
        "state_by_pointer": number,
        "handler": 6 * version,
        "callback": 12 + 1000 * version,
        "tweak_as_callback": 5 * version + 1000 * version,
        "tally": 2,
        "virtual_area": 9 * version,
        "made_shape": 3 * version,
        "made_square": 9 * version,
        "cast_square": 5,
        "cast_shape": 0,
        "derived": 1000 + 16 * version + 1,
        "caught": 20 + version,
        "caught_int": 30 + version,
        "caught_as_std": f"failure of shapes {version}",
        "caught_std": f"error of shapes {version}",
        "thrown_into_it": number,
    }


# Nothing of zlib but its names and types. `zlib_flavour` is what Pyodide's zlib does not have.
ZLIB = """
const char *const z_errmsg[10] = {"other message"};
const char *zlibVersion(void) { return "other version"; }
unsigned long crc32(unsigned long crc, const unsigned char *data, unsigned length) { return 77; }
const char *zlib_flavour(void) { return zlibVersion(); }
const char *(*zlib_pointer(void))(void) { return zlibVersion; }
"""
ZLIB_H = """
extern const char *const z_errmsg[10];
extern const char *zlibVersion(void), *zlib_flavour(void), *(*zlib_pointer(void))(void);
extern unsigned long crc32(unsigned long crc, const unsigned char *data, unsigned length);
static const char *(*volatile version)(void) = zlibVersion;
static unsigned long (*volatile crc)(unsigned long, const unsigned char *, unsigned) = crc32;
"""
ZLIB_CALLS = {
    "version": "PyUnicode_FromString(zlibVersion())",
    "version_by_pointer": "PyUnicode_FromString(version())",
    "crc": zig.integer('crc32(0, (const unsigned char *)"123", 3)'),
    "crc_by_pointer": zig.integer('crc(0, (const unsigned char *)"123", 3)'),
    "message": "PyUnicode_FromString(z_errmsg[0])",
}
MORE_CALLS = {
    "flavour": "PyUnicode_FromString(zlib_flavour())",
    "pointer_of_its_own": "PyUnicode_FromString(zlib_pointer()())",
}
ZLIB_ANSWERS: Answers = {
    "version": "other version",
    "version_by_pointer": "other version",
    "crc": 77,
    "crc_by_pointer": 77,
    "message": "other message",
}
MORE_ANSWERS: Answers = dict.fromkeys(MORE_CALLS, "other version")


def other_zlib() -> Path:
    """libz.so with zlib's names and other values."""
    return zig.shared_library("libz.so", ZLIB, cflags=[VISIBLE], ldflags=DYNAMIC)


def zlib_user(name: str, python: str, *, more: bool) -> Path:
    """An extension module that uses libz.so: what Pyodide has as well, and with `more` what it does not have."""
    calls = ZLIB_CALLS | (MORE_CALLS if more else {})
    return zig.side_module(name, zig.extension(name, calls, declarations=ZLIB_H), python=python, needed=["libz.so"])


def typeinfo_of_its_own() -> Path:
    """libold.so, which has typeinfo of std's exceptions in it, as if the standard library had been linked into it."""
    exports = ["old_value", "_ZTISt9exception", "_ZTISt13runtime_error"]
    source = "int _ZTISt9exception[4], _ZTISt13runtime_error[4]; int old_value(void) { return 41; }"
    return zig.shared_library("libold.so", source, exports=exports)


def typeinfo_user(name: str, python: str, unwinding: str = "wasm") -> Path:
    """An extension module that uses libold.so and whose caught() catches what Pyodide's main module throws; it returns 41."""
    thrower = "namespace std { inline namespace __2 { [[noreturn]] void __throw_system_error(int, const char *); } }"
    body = "try { std::__throw_system_error(1, name); } catch (const std::exception &) { return old_value(); } return 0;"
    declared = f'{HEADER}{thrower}\nextern "C" int old_value(void);\nstatic int caught(const char *name) {{ {body} }}'
    source = zig.extension(name, {"caught": zig.integer('caught("")')}, declarations=f'extern "C++" {{{declared}}}')
    return zig.side_module(
        name, f'extern "C" {{\n{source}}}', python=python, needed=["libold.so"], cflags=FLAGS[unwinding], ldflags=DYNAMIC
    )


def underlinked() -> tuple[Path, Path]:
    """libbelow.so, and libabove.so, which takes a function, a pointer and data of it and does not NEED it."""
    exports = ["below_value", "below_data"]
    below = zig.shared_library("libbelow.so", "int below_data = 2; int below_value(int a) { return a; }", exports=exports)
    source = (
        "extern int below_value(int), below_data; static int (*volatile pointer)(int) = below_value;\n"
        "int above_value(void) { return below_value(30) + pointer(10) + below_data; }"
    )
    return below, zig.shared_library("libabove.so", source, exports=["above_value"])


def underlinked_user(name: str, python: str) -> Path:
    """An extension module that NEEDs both libraries of `underlinked`; its value() is 42."""
    source = zig.extension(name, {"value": zig.integer("above_value()")}, declarations="extern int above_value(void);")
    return zig.side_module(name, source, python=python, needed=["libbelow.so", "libabove.so"])


@dataclass(frozen=True)
class Load:
    """Wheels that one interpreter gets in this order, and the functions that are called of each module: those of `FIRST` of
    all modules before any other."""

    name: str
    wheels: Sequence[Path]
    modules: Mapping[str, Sequence[str]]

    @property
    def script(self) -> str:
        """Python that leaves the answers in `result`."""
        calls = {name: list(functions) for name, functions in self.modules.items()}
        return (
            f"import importlib\ncalls, first = {calls!r}, {FIRST!r}\n"
            "found = {name: importlib.import_module(name) for name in calls}\n"
            "result = {name: {f: getattr(found[name], f)() for f in first if f in calls[name]} for name in calls}\n"
            "for name in calls:\n"
            "    result[name] |= {f: getattr(found[name], f)() for f in calls[name] if f not in first}\n"
        )


def answered(pyodide: str, loads: Sequence[Load]) -> dict[str, dict[str, Answers]]:
    """The answers by load and module, each load in an interpreter of its own. Raises `RuntimeError` with what was said if a
    wheel is not loaded or a call does not come back."""
    cases = [{"name": load.name, "wheels": [str(w) for w in load.wheels], "code": load.script, "alone": True} for load in loads]
    found = {}
    for result in trials.played(pyodide, cases):
        if result["value"] is None:
            raise RuntimeError(f"{result['name']}: {result['load'] or result['fatal'] or result['raised']}")
        found[str(result["name"])] = ast.literal_eval(result["value"])
    return found
