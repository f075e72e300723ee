"""Signals of what a module imports: unwinding, functions, data, types."""

from __future__ import annotations

from conda2wheel.wasm.binary import Module
from conda2wheel.wasm.bridge import bridged_names, make_bridge
from tests.helpers.signals import (
    JS_EXCEPTIONS,
    JS_LONGJMP,
    NO_EXCEPTIONS,
    WASM_EXCEPTIONS,
    WASM_LONGJMP,
    Shelf,
    answer,
    library,
    module,
)

THROWER = "static void __attribute__((noinline)) thrower(int v) { if (v) throw 41 + v; }\n"
CATCHER = "try { thrower(1); } catch (int e) { return PyLong_FromLong(e); } return PyLong_FromLong(0);"
JUMPER = (
    "typedef int jmp_buf[40]; extern int setjmp(jmp_buf) __attribute__((returns_twice));\n"
    "extern void longjmp(jmp_buf, int) __attribute__((noreturn)); static jmp_buf env;\n"
    "static void __attribute__((noinline)) jump(int v) { if (v) longjmp(env, v); }\n"
)
LANDER = "volatile int n = 0; int r = setjmp(env); if (!r) { n = 1; jump(42); } return PyLong_FromLong(r);"
# A class of its own derived from std::exception, thrown and declared as kiwisolver's are; the vtable stays in main.
OWN_EXCEPTION = (
    "namespace std { class exception { public: exception() {} virtual ~exception(); virtual const char *what() const; }; }\n"
    "namespace shape { class Unsatisfiable : public std::exception { public: int v; Unsatisfiable(int v) : v(v) {} "
    "~Unsatisfiable(); }; Unsatisfiable::~Unsatisfiable() {} }\n"
    "static void __attribute__((noinline)) thrower(int v) { if (v) throw shape::Unsatisfiable(41 + v); }\n"
)
OWN_CATCHER = "try { thrower(1); } catch (const shape::Unsatisfiable &e) { return PyLong_FromLong(e.v); } return 0;"
LENGTH_ERROR = (  # what is left of a vector's push_back
    "extern int _ZTISt12length_error; extern void *__cxa_allocate_exception(unsigned);\n"
    "extern void __cxa_throw(void *, void *, void *) __attribute__((noreturn));\n"
    "static void __attribute__((noinline)) thrower(int v) "
    "{ if (v < 0) __cxa_throw(__cxa_allocate_exception(8), &_ZTISt12length_error, 0); }\n"
)
VECTOR = "typedef int v4 __attribute__((vector_size(16)));\n"


def put(shelf: Shelf) -> None:
    """All of them."""
    _unwinding(shelf)
    _missing(shelf)
    _types(shelf)
    _library_types(shelf)


def _unwinding(shelf: Shelf) -> None:
    code = "unwinding"
    shelf.one("plain", module("plain", answer("42")), "right")
    shelf.one("wasm_exceptions", module("wasm_exceptions", CATCHER, THROWER, flags=WASM_EXCEPTIONS), "load right right", code)
    newer = (*WASM_EXCEPTIONS, "-mllvm", "-wasm-use-legacy-eh=false")
    shelf.one("exnref", module("exnref", CATCHER, THROWER, flags=newer), "load", "exnref")
    shelf.one("js_exceptions", module("js_exceptions", CATCHER, THROWER, flags=JS_EXCEPTIONS), "right fatal fatal", code)
    shelf.one("wasm_longjmp", module("wasm_longjmp", LANDER, JUMPER, flags=WASM_LONGJMP), "load right right", code)
    shelf.one("js_longjmp", module("js_longjmp", LANDER, JUMPER, flags=JS_LONGJMP), "right fatal fatal", code)
    shelf.one("only_throws", module("only_throws", CATCHER, THROWER, flags=NO_EXCEPTIONS), "fatal", "cannot-catch")
    kiwi = module("like_kiwisolver", OWN_CATCHER, OWN_EXCEPTION, flags=NO_EXCEPTIONS)
    shelf.one("like_kiwisolver", kiwi, "fatal", "cannot-catch")
    bridged = module("js_longjmp_bridged", LANDER, JUMPER, flags=JS_LONGJMP, needed=["libbridge.so"])
    wanted = bridged_names(Module.parse(next(iter(bridged.values()))))  # the wheel has it after convert or repair
    bridge = {"libbridge.so": make_bridge(wanted)}
    shelf.one("js_longjmp_bridged", {**bridge, **bridged}, "load right right", code)
    leaf = library(
        "libtame.so", 'extern "C" void tame_throw(int v) { if (v) throw 41 + v; }', ["tame_throw"], cflags=NO_EXCEPTIONS
    )
    plain = module("library_throws", f"tame_throw(1); {answer('42')}", "extern void tame_throw(int);", needed=["libtame.so"])
    shelf.one("library_throws", {**leaf, **plain}, "fatal", "cannot-catch")
    headers = module("only_headers_throw", f"thrower(args == self ? -1 : 1); {answer('42')}", LENGTH_ERROR)
    shelf.one("only_headers_throw", headers, "right", "cannot-catch")
    caught = "try { wild_throw(1); } catch (int e) { return PyLong_FromLong(e); } return 0;"
    leaf = library(
        "libwild.so", 'extern "C" void wild_throw(int v) { if (v) throw 41 + v; }', ["wild_throw"], cflags=NO_EXCEPTIONS
    )
    user = module("catches_for_it", caught, 'extern "C" void wild_throw(int);', flags=WASM_EXCEPTIONS, needed=["libwild.so"])
    shelf.one("catches_for_it", {**leaf, **user}, "load right right", code)


def _missing(shelf: Shelf) -> None:
    code = "unresolved-symbol"
    shelf.one("no_function", module("no_function", answer("absent_f(3)"), "extern int absent_f(int);"), "fatal", code)
    shelf.one("no_data", module("no_data", answer("absent_d"), "extern int absent_d;"), "load", code)
    pointer = "int (*volatile p)(int) = absent_p; return PyLong_FromLong(p == 0);"
    shelf.one("no_pointer", module("no_pointer", pointer, "extern int absent_p(int);"), "load", code)
    imaging = (
        "extern int ImagingBcnEncode(int); extern int export_imaging_array(int);\n"
        "static int (*volatile table[])(int) = { ImagingBcnEncode };\n"
        "static int __attribute__((noinline)) exported(int a) { return export_imaging_array(a) + 1; }\n" + JUMPER
    )
    shape = f"if (args == self) return PyLong_FromLong(exported(1)); if (table[0] == 0) return 0; {LANDER}"
    pillow = module("like_pillow", shape, imaging, flags=JS_LONGJMP)
    shelf.one("like_pillow", pillow, "load", code)
    weak = " __attribute__((weak));"
    shelf.one(
        "weak_function",
        module("weak_function", answer("weak_f ? weak_f(1) : 42"), f"extern int weak_f(int){weak}"),
        "right",
        "weak-missing",
    )
    shelf.one("weak_data", module("weak_data", answer("&weak_d ? 1 : 42"), f"extern int weak_d{weak}"), "right", "weak-missing")
    python = module("newer_python", "return PyFuture_New();", "extern PyObject *PyFuture_New(void);")
    shelf.one("newer_python", python, "fatal", "cpython-symbol")
    newer = module("newer_type", answer("PyFuture_Type"), "extern int PyFuture_Type;")
    shelf.one("newer_type", newer, "load", "cpython-symbol")
    elsewhere = '__attribute__((import_module("elsewhere"), import_name("bar")));'
    shelf.one("other_source", module("other_source", answer("bar(1)"), f"extern int bar(int) {elsewhere}"), "load", code)
    wasi = '__attribute__((import_module("wasi_snapshot_preview1"), import_name("fd_close")));'
    shelf.one("wasi", module("wasi", answer("wasi_close(99) ? 42 : 0"), f"extern int wasi_close(int) {wasi}"), "right")
    read = 'int r; __asm__ volatile("global.get foreign_global\\nlocal.set %0" : "=r"(r)); return PyLong_FromLong(r);'
    foreign = module("foreign_global", read, '__asm__(".globaltype foreign_global, i32\\n");')
    shelf.one("foreign_global", foreign, "load", code)
    throws = '__asm__ volatile("i32.const 1\\nthrow foreign_tag"); return 0;'
    tag = module("foreign_tag", throws, '__asm__(".tagtype foreign_tag i32\\n");', flags=("-mexception-handling",))
    shelf.one("foreign_tag", tag, "load", code)
    untyped = "_glGetActiveAttribOrUniform"
    shelf.one(
        "untyped_pointer",
        module(
            "untyped_pointer", f"void (*volatile p)(void) = {untyped}; {answer('p ? 42 : 0')}", f"extern void {untyped}(void);"
        ),
        "load",
        code,
    )


def _types(shelf: Shelf) -> None:
    code = "signature-mismatch"
    shelf.one("wrong_type", module("wrong_type", answer("strlen((void *)4, 2)"), "extern int strlen(void *, int);"), "load", code)
    split = module(
        "legalised",
        answer('atoll_of("42")'),
        "extern int imaxabs(int, int); static int atoll_of(const char *s) { return imaxabs((int)s, 0); }",
    )
    shelf.one("legalised", split, "load", "no-bigint")
    halves = 'int halves(int low, int high) __asm__("orig$halves"); int halves(int low, int high) { return low + high; }'
    shelf.one("offers_halves", module("offers_halves", answer("42"), halves, exports=["orig$halves"]), "odd", "no-bigint")
    shelf.one("data_called", module("data_called", answer("_Py_NoneStruct()"), "extern int _Py_NoneStruct(void);"), "load", code)
    clock = "extern {} emscripten_get_now({});"
    shelf.one(
        "js_function", module("js_function", answer("emscripten_get_now() > 0 ? 42 : 0"), clock.format("double", "void")), "right"
    )
    shelf.one("js_wrong", module("js_wrong", answer("emscripten_get_now(5)"), clock.format("long long", "int")), "fatal", code)


def _library_types(shelf: Shelf) -> None:
    """Calls of a library's functions go through JavaScript, which converts what it can."""
    code = "signature-mismatch"
    cases = {
        # name: the library's function, how the module declares it, what it makes of it, and what comes of that
        "more_given": ("int {f}(int a) {{ return a; }}", "int {f}(int, int)", "{f}(42, 9)", "odd"),
        "less_given": ("int {f}(int a, int b) {{ return a * 10 + b; }}", "int {f}(int)", "{f}(4) + 2", "odd"),
        "half_given": ("double {f}(double a) {{ return a; }}", "double {f}(int)", "{f}(42)", "odd"),
        "narrow_given": ("long long {f}(long long a) {{ return a; }}", "long long {f}(int)", "{f}(42)", "fatal"),
        "wide_given": ("int {f}(int a) {{ return a; }}", "int {f}(long long)", "{f}(42)", "fatal"),
        "wide_wanted": ("int {f}(void) {{ return 42; }}", "long long {f}(void)", "{f}()", "fatal"),
        "wide_right": ("long long {f}(long long a) {{ return a; }}", "long long {f}(long long)", "{f}(42)", "right"),
    }
    for name, (defined, declared, called, came) in cases.items():
        function = f"f_{name}"
        made = library(f"lib{name}.so", defined.format(f=function), [function])
        user = module(name, answer(called.format(f=function)), f"extern {declared.format(f=function)};", needed=[f"lib{name}.so"])
        shelf.one(name, {**user, **made}, came, None if came == "right" else code)
    simd = ("-msimd128",)
    lanes = library("liblanes.so", f"{VECTOR} v4 lanes(v4 a) {{ return a + a; }}", ["lanes"], cflags=simd)
    body = "v4 a = {21, 1, 1, 1}; " + answer("lanes(a)[0]")
    shelf.one(
        "lanes_pass",
        {**module("lanes_pass", body, f"{VECTOR} extern v4 lanes(v4);", flags=simd, needed=["liblanes.so"]), **lanes},
        "fatal",
        code,
    )
    inside = "volatile v4 a = {21, 21, 21, 21}; volatile v4 b = a + a; " + answer("b[0]")
    shelf.one("simd_inside", module("simd_inside", inside, VECTOR, flags=simd), "right", "simd")
