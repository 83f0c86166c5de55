"""Every fault of fault_driver.py: once in the normal tests where it is quick, as often as it says where slow."""

import fault_driver
import pytest
from fault_driver import FAULTS


@pytest.mark.parametrize("fault", [pytest.param(f, id=f.name) for f in FAULTS if f.quick])
def test_a_run_survives(world, fault):
    fault.do(world, 0)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [pytest.param(f, id=f.name) for f in FAULTS])
def test_a_run_survives_as_often_as_it_happens(world, fault):
    if why := fault.needs():
        pytest.skip(why)
    for n in range(min(fault.trials, 10)):
        fault.do(world, n)


def test_the_driver_notices_another_end(world):
    """A table that cannot show a failure would be worth nothing."""
    one, two = fault_driver.Trial(world), fault_driver.Trial(world, seed=6)
    for trial in (one, two):
        trial.finish("--kimg", "0.064")
    assert fault_driver.result_of(one.run_dir) != fault_driver.result_of(two.run_dir)
    with pytest.raises(AssertionError, match="exit code 0"):
        one.refused("--kimg", "0.064", says="anything")
