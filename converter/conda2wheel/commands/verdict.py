"""The audit as a stage of the pipeline: a wheel that would not run is refused, unless the caller allows the finding.

The wheel is audited as it is about to be written, against the newest Pyodide of its platform. A finding that a module would not
load, or would end the interpreter, becomes a refusal. A platform that no Pyodide has cannot be audited.
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

SHOWN = 3  # findings in the message of a refusal


@dataclass(frozen=True)
class Verdict:
    """The warnings of the audit, and the Pyodide that the wheel was audited for; None without one."""

    warnings: tuple[ConversionWarning, ...] = ()
    pyodide: str | None = None


def judge(
    source: str, unit: AuditUnit, platform: Platform, allow: Collection[str] = (), beside: Sequence[AuditUnit] = ()
) -> Verdict:
    """Audit a wheel for its platform.

    Args:
        source: the package or wheel, for messages.
        unit: the modules of the wheel.
        platform: the platform of the wheel.
        allow: refusal codes that become warnings.
        beside: modules that are installed before the wheel and are not audited.

    Raises:
        Refused: the wheel would not run. The code is that of the worst finding; the message names module, symbol and reason.
    """
    pyodide = newest_pyodide(platform)
    if pyodide is None:
        return Verdict()
    findings = audit_units([unit], pyodide, beside)[unit.name]
    bad = [finding for finding in findings if not finding.severity.runs]
    # On platforms whose toolchain disables exceptions by default, most C++ extensions throw without being able to catch
    # (kiwisolver 1.3.2, contourpy 1.3.1). They work until they throw, and Pyodide ships such extensions itself. On platforms
    # whose toolchain always enables exceptions, the finding means that another toolchain was used.
    usual = {"cannot-catch"} if platform.unwinding == "js" else set()
    refusing = [finding for finding in bad if RULES[finding.code].refusal not in allow and finding.code not in usual]
    if refusing:
        raise _refusal(source, pyodide, refusing)
    reported = [finding for finding in findings if finding.severity is Severity.SUSPICIOUS or finding.code in usual]
    bad = [finding for finding in bad if finding not in reported]
    warnings = [ConversionWarning(finding.code, finding.message, finding.module) for finding in reported]
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
        hint += f"; --allow {code} writes the wheel anyway"
    return Refused(code, f"{source}: in Pyodide {pyodide}, {shown}{more}", hint)
