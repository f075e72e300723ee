"""The audit as a stage of the pipeline: a wheel that does not load is refused, unless the caller allows the finding.

The wheel is audited as it is about to be written, against the newest Pyodide of each of its platforms. A module that does not
load is a refusal, because the loader then gives up the whole wheel. A function that ends the interpreter when it is called is a
warning, because everything else of the wheel works; with `strict` it is a refusal, too. A platform that no Pyodide has cannot be
audited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from conda2wheel.abi.audit.findings import RULES, Finding, Severity, unusable_parts
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.symbols import newest_pyodide
from conda2wheel.errors import Refused
from conda2wheel.options import ALLOWABLE, Options
from conda2wheel.results import ALLOWED, ConversionWarning, UnusablePart

if TYPE_CHECKING:
    from conda2wheel.abi.audit.unit import AuditUnit

_Part = tuple[str, str, tuple[str, ...]]  # module, code and symbols of a finding
SHOWN = 3  # findings in the message of a refusal


class Verdict(NamedTuple):
    """The result of the audit of a wheel that may be written.

    Attributes:
        warnings: what is wrong with it.
        pyodides: the Pyodides that it was audited for, one for each platform that has one.
        unusable: the parts that do not run in one of them.
    """

    warnings: tuple[ConversionWarning, ...] = ()
    pyodides: tuple[str, ...] = ()
    unusable: tuple[UnusablePart, ...] = ()


def judge(
    source: str,
    unit: AuditUnit,
    platforms: Sequence[Platform],
    options: Options,
    beside: Sequence[AuditUnit] = (),
    unseen: Mapping[str, frozenset[str]] | None = None,
) -> Verdict:
    """Audit a wheel for its platforms.

    Args:
        source: the package or wheel, for messages.
        unit: the modules of the wheel.
        platforms: the platforms of the wheel.
        options: of these, `strict`, and `allow`: the refusal codes that become warnings.
        beside: modules that are installed before the wheel and are not audited.
        unseen: names of libraries that are taken to be there and that nothing is known of, by module that NEEDs one, itself or
            through others. What is missing in these modules may be theirs.

    Raises:
        Refused: the wheel does not load on one of the platforms, or a part of it does not run on one of them and does on another,
            or with `strict` a part of it does not run. The code is that of the worst finding; the message names the Pyodide,
            module, symbol and reason.
    """
    from conda2wheel.abi.audit.engine import audit_units
    from conda2wheel.commands.excluded import without_unseen

    found = {
        platform: (pyodide, without_unseen(audit_units([unit], pyodide, beside)[unit.name], unseen or {}))
        for platform in platforms
        if (pyodide := newest_pyodide(platform)) is not None
    }
    everywhere = frozenset[_Part]()
    if found and not options.strict:
        everywhere = frozenset.intersection(*(frozenset(map(_part, findings)) for _, findings in found.values()))
    judged = [_Judged(platform, pyodide, findings, everywhere) for platform, (pyodide, findings) in found.items()]
    if any(each.refusing(options) for each in judged):
        raise _refusal(source, judged, options)
    where: dict[ConversionWarning, list[str]] = {}
    for each in judged:
        for warning in each.warnings():
            where.setdefault(warning, []).append(each.pyodide)
    warnings = (
        warning if len(some) == len(judged) else replace(warning, message=f"{warning.message} (in Pyodide {', '.join(some)})")
        for warning, some in where.items()
    )
    unusable = dict.fromkeys(part for each in judged for part in unusable_parts(each.findings))
    return Verdict(tuple(warnings), tuple(each.pyodide for each in judged), tuple(unusable))


class _Judged(NamedTuple):
    """The findings about a wheel in the Pyodide of one of its platforms.

    `tolerated` are the parts that need not run. A part that runs on another of the platforms is none of them: the wheel would
    claim to run where another build is meant to.
    """

    platform: Platform
    pyodide: str
    findings: Sequence[Finding]
    tolerated: frozenset[_Part] = frozenset()

    def refusing(self, options: Options) -> list[Finding]:
        """The findings for which the wheel is refused."""
        return [finding for finding in self._bad() if RULES[finding.code].refusal not in options.allow]

    def warnings(self) -> Iterator[ConversionWarning]:
        """Yield the warnings about a wheel that is not refused."""
        bad = self._bad()
        for finding in self.findings:
            if finding not in bad and finding.severity is not Severity.NOTE:
                yield ConversionWarning(finding.code, finding.message, finding.module)
        for finding in bad:
            yield ConversionWarning(ALLOWED, f"{RULES[finding.code].refusal}: {finding.message}", finding.module)

    def _bad(self) -> list[Finding]:
        fatal = {each for each in self.findings if each.severity is Severity.FATAL and _part(each) not in self.tolerated}
        return [finding for finding in self.findings if finding.severity is Severity.LOAD or finding in fatal]


def _refusal(source: str, judged: Sequence[_Judged], options: Options) -> Refused:
    """The refusal for the first platform on which the wheel does not run. Its hint names those on which it does."""
    refusing = next(each for each in judged if each.refusing(options))
    findings = refusing.refusing(options)
    worst = findings[0]
    code = RULES[worst.code].refusal
    if code is None:
        raise ValueError(f"finding {worst.code} would not run but has no refusal code")
    same = [finding for finding in findings if RULES[finding.code].refusal == code]
    shown = "; ".join(f"{finding.module}: {finding.message}" for finding in same[:SHOWN])
    more = f" (and {len(findings) - SHOWN} more)" if len(findings) > SHOWN else ""
    tag = f" ({refusing.platform.tag})" if len(judged) > 1 else ""
    hint = worst.hint or "audit shows every finding"
    if runs := [each.platform.tag for each in judged if not each.refusing(options)]:
        hint += f"; it runs with --platform {' --platform '.join(runs)}"
    if worst.severity is not Severity.LOAD and options.strict:
        hint += "; without --strict it is a warning"
    elif code in ALLOWABLE:
        hint += f"; --allow {code} writes the wheel anyway"
    return Refused(code, f"{source}: in Pyodide {refusing.pyodide}{tag}, {shown}{more}", hint)


def _part(finding: Finding) -> _Part:
    return finding.module, finding.code, finding.names
