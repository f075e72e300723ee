"""The audit as a stage of the pipeline: a wheel that does not load is refused, unless the caller allows the finding.

The wheel is audited as it is about to be written, against the newest Pyodide of its platform. A module that does not load is
a refusal, because the loader then gives up the whole wheel. A function that ends the interpreter when it is called is a warning,
because everything else of the wheel works; with `strict` it is a refusal, too. A platform that no Pyodide has cannot be audited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conda2wheel.abi.audit.engine import audit_units
from conda2wheel.abi.audit.findings import RULES, Finding, Severity, unusable_parts
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.symbols import newest_pyodide
from conda2wheel.errors import Refused
from conda2wheel.options import ALLOWABLE, Options
from conda2wheel.results import ALLOWED, ConversionWarning, UnusablePart

SHOWN = 3  # findings in the message of a refusal


@dataclass(frozen=True)
class Verdict:
    """The result of the audit of a wheel that may be written.

    Attributes:
        warnings: what is wrong with it.
        pyodide: the Pyodide that it was audited for; None without one.
        unusable: the parts that do not run.
    """

    warnings: tuple[ConversionWarning, ...] = ()
    pyodide: str | None = None
    unusable: tuple[UnusablePart, ...] = ()


def judge(source: str, unit: AuditUnit, platform: Platform, options: Options, beside: Sequence[AuditUnit] = ()) -> Verdict:
    """Audit a wheel for its platform.

    Args:
        source: the package or wheel, for messages.
        unit: the modules of the wheel.
        platform: the platform of the wheel.
        options: of these, `strict`, and `allow`: the refusal codes that become warnings.
        beside: modules that are installed before the wheel and are not audited.

    Raises:
        Refused: the wheel does not load, or with `strict` a part of it does not run. The code is that of the worst finding; the
            message names module, symbol and reason.
    """
    pyodide = newest_pyodide(platform)
    if pyodide is None:
        return Verdict()
    findings = audit_units([unit], pyodide, beside)[unit.name]
    severities = (Severity.LOAD, Severity.FATAL) if options.strict else (Severity.LOAD,)
    bad = [finding for finding in findings if finding.severity in severities]
    refusing = [finding for finding in bad if RULES[finding.code].refusal not in options.allow]
    if refusing:
        raise _refusal(source, pyodide, refusing)
    warnings = [
        ConversionWarning(finding.code, finding.message, finding.module)
        for finding in findings
        if finding not in bad and finding.severity is not Severity.NOTE
    ]
    warnings += [
        ConversionWarning(ALLOWED, f"{RULES[finding.code].refusal}: {finding.message}", finding.module) for finding in bad
    ]
    return Verdict(tuple(warnings), pyodide, unusable_parts(findings))


def _refusal(source: str, pyodide: str, findings: list[Finding]) -> Refused:
    worst = findings[0]
    code = RULES[worst.code].refusal
    if code is None:
        raise ValueError(f"finding {worst.code} would not run but has no refusal code")
    same = [finding for finding in findings if RULES[finding.code].refusal == code]
    shown = "; ".join(f"{finding.module}: {finding.message}" for finding in same[:SHOWN])
    more = f" (and {len(findings) - SHOWN} more)" if len(findings) > SHOWN else ""
    hint = worst.hint or "audit shows every finding"
    if worst.severity is not Severity.LOAD:
        hint += "; without --strict it is a warning"
    elif code in ALLOWABLE:
        hint += f"; --allow {code} writes the wheel anyway"
    return Refused(code, f"{source}: in Pyodide {pyodide}, {shown}{more}", hint)
