"""A wheel is checked beside the wheels of the packages that it depends on, whenever these are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel.mirror.state.model import ChannelPackage
from conda2wheel.mirror.work.offered import OfferedWheels
from tests.helpers import conda, sets
from tests.helpers import mirror_reports as reports
from tests.helpers.mirror_runs import small_mirror


def test_what_a_package_depends_on_is_offered_as_soon_as_it_is_done() -> None:
    top = reports.package("top", depends=("middle >=1", "python"))
    middle = reports.package("middle", depends=("base", "top"))
    bases = [reports.package("base", f"{number}.0") for number in range(1, 6)]
    wanted = {reports.done(each).key: each for each in (top, middle, *bases)}

    def done(package: ChannelPackage) -> None:
        offered.add(package, reports.done(package, wheel=reports.wheel(package.name, package.version)))

    offered = OfferedWheels(wanted, {})
    assert offered.beside(top) == ()
    for each in (top, *bases):
        done(each)
    assert {(wheel.project, wheel.version) for wheel in offered.beside(top)} == {("base", f"{each}.0") for each in (3, 4, 5)}
    done(middle)
    assert {wheel.project for wheel in offered.beside(top)} == {"middle", "base"}
    refused = reports.done(middle, "refused", "bad-name")
    assert OfferedWheels(wanted, {refused.key: refused}).beside(top) == ()


@pytest.mark.long
@pytest.mark.runtime
def test_a_wheel_that_imports_another_of_the_index_passes_its_check(tmp_path: Path) -> None:
    with small_mirror(tmp_path) as mirror:
        mirror.configure('[work]\ncheck = "0.29.5"\n[select]\ninclude = ["aaa-user", "zzz-base"]\n')
        base = sets.native("zzz-base")
        files: conda.Files = {"site-packages/aaa_user.py": f"import zzz_base\n# {'large, so it comes first ' * 10_000}\n"}
        user = conda.assemble("aaa-user", "1.0", files, noarch="python", string="pyh1_0", depends=["zzz-base", "python"])
        mirror.add(base, user)
        report = mirror.run()
        assert report.counts["done"] == 2, report.attention
