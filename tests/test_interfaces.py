"""The concrete parts of the contracts."""

import subprocess
import sys

from ganzoo import GrowthSchedule, GrowthState, Phase


class Steps(GrowthSchedule):
    """4 px for 3,000 images, then 8 px: 1,000 images of fade, then stable."""

    def at(self, nimg: int) -> GrowthState:
        if nimg < 3000:
            return GrowthState(4, 1.0, 16, 1e-3, 1e-3)
        return GrowthState(8, min((nimg - 3000) / 1000, 1.0), 8, 1e-3, 1e-3)


def test_phases_lists_each_stretch_once():
    assert Steps().phases(6000) == [
        Phase(0, 3000, 4, False, 16, 1e-3, 1e-3),
        Phase(3000, 4000, 8, True, 8, 1e-3, 1e-3),
        Phase(4000, 6000, 8, False, 8, 1e-3, 1e-3),
    ]


def test_import_ganzoo_does_not_import_torch():
    code = "import sys, ganzoo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_phases_finds_changes_at_odd_places_and_in_short_runs():
    class Odd(GrowthSchedule):
        def at(self, nimg: int) -> GrowthState:
            return GrowthState(4 if nimg < 1234 else 8 if nimg < 5678 else 16, 1.0, 4, 1e-3, 1e-3)

    def starts(total: int) -> list[int]:
        phases = Odd().phases(total)
        assert [p.end_nimg for p in phases] == [p.start_nimg for p in phases[1:]] + [total]
        return [p.start_nimg for p in phases]

    assert starts(12_000_000) == [0, 1234, 5678]
    assert starts(6000) == [0, 1234, 5678]
    assert starts(1235) == [0, 1234]
    assert starts(1234) == [0]
    assert Odd().phases(0) == []


def test_phases_of_a_run_without_end_come_to_an_end():
    assert [p.resolution for p in Steps().phases(10**15)][-1] == Steps().at(10**15).resolution
