"""The audit on the road: a wheel that would not run is not written, unless somebody says that it shall be.

The wheel is judged as it is about to be written, against the newest Pyodide of its platform; what that Pyodide cannot load,
or would die of, is a refusal with the contract's code. A platform that no Pyodide has cannot be judged.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from conda2wheel.abi.audit.engine import audit_units
from conda2wheel.abi.audit.findings import RULES, Finding, Severity
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.symbols import newest_pyodide
from conda2wheel.errors import Refused
from conda2wheel.options import ALLOWABLE
from conda2wheel.results import ALLOWED, ConversionWarning

SHOWN = 3  # findings that a refusal spells out


@dataclass(frozen=True)
class Verdict:
    """What a person should know of the wheel, and which Pyodide was asked."""

    warnings: tuple[ConversionWarning, ...] = ()
    pyodide: str | None = None


def judge(
    source: str, unit: AuditUnit, platform: Platform, allow: Collection[str] = (), beside: Sequence[AuditUnit] = ()
) -> Verdict:
    """Judge `unit` for `platform`. `allow` are refusal codes that shall be warnings instead; `beside` is what is installed before
    it, and not judged.

    Raises `Refused` with the code of the worst finding that makes the wheel one that would not run; `message` names the
    module, the symbol and the reason.
    """
    pyodide = newest_pyodide(platform)
    if pyodide is None:
        return Verdict()
    findings = audit_units([unit], pyodide, beside)[unit.name]
    bad = [finding for finding in findings if not finding.severity.runs]
    # Where exceptions are off unless asked for, most C++ extensions throw without a way to catch (kiwisolver 1.3.2, contourpy
    # 1.3.1): they work until then, and Pyodide ships such ones itself. Where they are always on, it is the wrong toolchain.
    usual = {"cannot-catch"} if platform.unwinding == "js" else set()
    refusing = [finding for finding in bad if RULES[finding.code].refusal not in allow and finding.code not in usual]
    if refusing:
        raise _refusal(source, pyodide, refusing)
    told = [finding for finding in findings if finding.severity is Severity.SUSPICIOUS or finding.code in usual]
    bad = [finding for finding in bad if finding not in told]
    warnings = [ConversionWarning(finding.code, finding.message, finding.module) for finding in told]
    warnings += [
        ConversionWarning(ALLOWED, f"{RULES[finding.code].refusal}: {finding.message}", finding.module) for finding in bad
    ]
    return Verdict(tuple(warnings), pyodide)


def _refusal(source: str, pyodide: str, findings: list[Finding]) -> Refused:
    worst = findings[0]
    code = RULES[worst.code].refusal
    if code is None:
        raise ValueError(f"finding {worst.code} would not run but has no refusal code")
    same = [finding for finding in findings if RULES[finding.code].refusal == code]
    shown = "; ".join(f"{finding.module}: {finding.message}" for finding in same[:SHOWN])
    more = f" (and {len(findings) - SHOWN} more)" if len(findings) > SHOWN else ""
    hint = worst.hint or "audit shows every finding"
    if code in ALLOWABLE:
        hint += f"; --allow {code} writes the wheel all the same"
    return Refused(code, f"{source}: in Pyodide {pyodide}, {shown}{more}", hint)
