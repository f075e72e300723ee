"""Longjmp of the JavaScript kind in every shape: extension modules, the libraries that they NEED, and what each function answers.

`_jumps`, `_shapes` and `libjsjump.so` are of the JavaScript kind, `libwasmjump.so` and `_throws` (C++) of the WebAssembly kind.
`_shapes` calls a function of every type through setjmp. Without a bridge, none of it runs where unwinding is of that other kind.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

from tests.helpers import conda, zig
from tests.helpers.signals import JS_LONGJMP, WASM_EXCEPTIONS, WASM_LONGJMP
from tests.unit.link.test_linker import library
from tests.unit.link.test_linker import python as package

JMP = """
typedef int jmp_buf[40];
extern int setjmp(jmp_buf) __attribute__((returns_twice));
extern void longjmp(int *, int) __attribute__((noreturn));
#define APART __attribute__((noinline))
"""
JS_LIBRARY = f"""{JMP}
void js_jump(int *env, int value) {{ longjmp(env, value); }}
int js_through(int (*function)(int), int value) {{
  jmp_buf own; volatile int result = setjmp(own);
  return result ? -result : function(value);
}}
"""
WASM_LIBRARY = f"""{JMP}
void wasm_jump(int *env, int value) {{ longjmp(env, value); }}
int wasm_catch(void (*function)(int *)) {{
  jmp_buf own; volatile int result = setjmp(own);
  if (!result) function(own);
  return result;
}}
"""
JUMPS = f"""{JMP}
extern int emscripten_stack_get_current(void), wasm_catch(void (*)(int *));
extern void js_jump(int *, int), wasm_jump(int *, int), qsort(void *, unsigned, unsigned, int (*)(const void *, const void *));
static jmp_buf env, near;
static APART void frames(int n, int value) {{
  volatile char room[256]; room[n] = 1;
  if (n) {{ frames(n - 1, value); room[n] = 2; }} else longjmp(env, value);
}}
static APART int deep(void) {{ int r = setjmp(env); if (!r) frames(20, 42); return r; }}
static int compare(const void *a, const void *b) {{ longjmp(env, 7); }}
static APART int sorting(void) {{
  volatile int data[4] = {{4, 3, 2, 1}}; int r = setjmp(env);
  if (!r) qsort((void *)data, 4, 4, compare);
  return r;
}}
static APART int zero(void) {{ int r = setjmp(env); if (!r) frames(3, 0); return r; }}
static APART void jump_near(int value) {{ longjmp(near, value); }}
static APART void within(void) {{ int r = setjmp(near); if (!r) jump_near(5); frames(2, 10 + r); }}
static APART int nested(void) {{ int r = setjmp(env); if (!r) within(); return r; }}
static APART int loop(void) {{
  volatile int sum = 0, i;
  for (i = 1; i <= 10; i++) {{ int r = setjmp(env); if (!r) frames(1, i); sum += r; }}
  return sum;
}}
static APART int stack(void) {{
  volatile int count = 0, i, before = emscripten_stack_get_current();
  for (i = 0; i < 100000; i++) {{ int r = setjmp(env); if (!r) frames(4, 3); count += r == 3; }}
  return count == 100000 ? emscripten_stack_get_current() - before : -1;
}}
static void jump_to(int *target) {{ longjmp(target, 9); }}
static void jump_past(int *target) {{ longjmp(env, 13); }}
static APART int to_wasm(void) {{ return wasm_catch(jump_to); }}
static APART int to_wasm_inside(void) {{
  volatile int got = 0; int r = setjmp(env);
  if (!r) got = wasm_catch(jump_to);
  return 100 * r + got;
}}
static APART int past_wasm(void) {{ int r = setjmp(env); if (!r) wasm_catch(jump_past); return r; }}
static APART int from_wasm(void) {{ int r = setjmp(env); if (!r) wasm_jump(env, 11); return r; }}
static APART int across(void) {{ int r = setjmp(env); if (!r) js_jump(env, 12); return r; }}
static void (*volatile pointer)(int *, int) = longjmp;
static APART int by_pointer(void) {{ int r = setjmp(env); if (!r) pointer(env, 14); return r; }}
"""
JUMPED = {
    "deep": 42,
    "sorting": 7,
    "zero": 1,
    "nested": 15,
    "loop": 55,
    "stack": 0,
    "to_wasm": 9,
    "to_wasm_inside": 9,
    "past_wasm": 13,
    "from_wasm": 11,
    "across": 12,
    "by_pointer": 14,
}
THROWS = """
extern "C" int js_through(int (*)(int), int);
static int thrower(int value) { throw value; }
static int plain(int value) { return value; }
static int passes(void) { try { js_through(thrower, 31); } catch (int e) { return e; } return -1; }
static int returns(void) { return js_through(plain, 32); }
"""
THROWN = {"passes": 31, "returns": 32}
TYPES = {"v": "void", "i": "int", "j": "long long", "f": "float", "d": "double"}
LONG = "ijfd" * 5
PARAMETERS = ("", *"ijfd", *map("".join, product("ijfd", repeat=2)), "ijfd", LONG)
SHAPES = tuple(result + parameters for result in TYPES for parameters in PARAMETERS)


def packages(python: str) -> tuple[Path, Path]:
    """A package with the three extension modules, and one with the two libraries."""
    modules = (_jumps(python), _throws(python), _shapes(python))
    placed: conda.Files = {f"jumps/{module.name}": module for module in modules}
    libraries: conda.Files = {f"lib/{each.name}": each for each in (js_library(), wasm_library())}
    return package({"jumps/__init__.py": "", **placed}, name="jumps", py=python), library("libjumps", libraries, py=python)


def js_library() -> Path:
    """libjsjump.so, of the JavaScript kind."""
    return zig.shared_library("libjsjump.so", JS_LIBRARY, exports=["js_jump", "js_through"], cflags=JS_LONGJMP)


def wasm_library() -> Path:
    """libwasmjump.so, of the WebAssembly kind."""
    return zig.shared_library("libwasmjump.so", WASM_LIBRARY, exports=["wasm_jump", "wasm_catch"], cflags=WASM_LONGJMP)


def _jumps(python: str) -> Path:
    source = zig.extension("_jumps", {name: zig.integer(f"{name}()") for name in JUMPED}, declarations=JUMPS)
    return zig.side_module("_jumps", source, python=python, needed=["libjsjump.so", "libwasmjump.so"], cflags=JS_LONGJMP)


def _throws(python: str) -> Path:
    source = zig.extension("_throws", {name: zig.integer(f"{name}()") for name in THROWN}, declarations=THROWS)
    source = source.replace('#include "python.h"', 'extern "C" {\n#include "python.h"\n}').replace(
        "PyObject *PyInit_", 'extern "C" PyObject *PyInit_'
    )
    return zig.side_module("_throws", source, python=python, needed=["libjsjump.so"], cflags=WASM_EXCEPTIONS)


def _shapes(python: str) -> Path:
    calls = "".join(map(_shape, range(len(SHAPES)), SHAPES))
    total = " + ".join(f"call_{number}()" for number in range(len(SHAPES)))
    source = (
        f"{JMP}static jmp_buf env;\nstatic volatile int jumping, right;\n{calls}"
        f"static int all(int how) {{ jumping = how; return {total}; }}\n"
    )
    functions = {"returned": zig.integer("all(0)"), "jumped": zig.integer("all(1)")}
    return zig.side_module("_shapes", zig.extension("_shapes", functions, declarations=source), python=python, cflags=JS_LONGJMP)


def _shape(number: int, shape: str) -> str:
    """A function of that type, and one that calls it after setjmp: 1 if arguments and result, or the jump, arrived."""
    result, parameters = TYPES[shape[0]], shape[1:]
    listed = ", ".join(f"{TYPES[letter]} a{place}" for place, letter in enumerate(parameters)) or "void"
    given = ", ".join(str(place + 3) for place in range(len(parameters)))
    checks = "".join(f" && a{place} == {place + 3}" for place in range(len(parameters)))
    returned = "" if shape[0] == "v" else f"return {number + 5};"
    called = f"f({given}); return right;" if shape[0] == "v" else f"return f({given}) == {number + 5} && right;"
    return (
        f"static {result} callee_{number}({listed}) {{ right = 1{checks}; "
        f"if (jumping) longjmp(env, {number + 1}); {returned} }}\n"
        f"static APART int call_{number}(void) {{ {result} (*volatile f)({listed}) = callee_{number}; "
        f"int r = setjmp(env); if (r) return jumping && r == {number + 1} && right; {called} }}\n"
    )


SCRIPT = f"""
import json
from jumps import _jumps, _throws, _shapes
found = {{}}
for _ in range(2):
    for name in {list(JUMPED)}:
        found[name] = getattr(_jumps, name)()
    for name in {list(THROWN)}:
        found[name] = getattr(_throws, name)()
    found["returned"], found["jumped"] = _shapes.returned(), _shapes.jumped()
json.dumps(found)
"""
EXPECTED = {**JUMPED, **THROWN, "returned": len(SHAPES), "jumped": len(SHAPES)}
