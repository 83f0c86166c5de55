"""Averaged gradients of two processes equal those of one process with the whole batch, second derivatives included."""

import subprocess
import sys

SCRIPT = """
import torch
from torch import nn
from ganzoo.errors import GanzooError
from ganzoo.training import distributed
from ganzoo.training.rng import get_state

processes = distributed.start("cpu")
torch.manual_seed(0)
D = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).double()
unused = nn.Linear(2, 2).double()
images = torch.randn(8, 5, dtype=torch.float64)


def penalty(x):
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    return ((gradient.norm(dim=1) - 1) ** 2).mean()


for waited_for in (False, True):  # as on GPUs
    distributed._is_waited_for = lambda device: waited_for
    D.zero_grad(set_to_none=True)
    penalty(images).backward()  # a penalty alone: the last bias gets no gradient
    expected = [None if p.grad is None else p.grad.clone() for p in D.parameters()]
    D.zero_grad(set_to_none=True)
    penalty(images.chunk(processes.world_size)[processes.rank]).backward()
    loss = torch.tensor(float(processes.rank))
    assert distributed.all_reduce_grads([*D.parameters(), *unused.parameters()], loss).item() == 0.5
    for parameter, value in zip(D.parameters(), expected):
        if value is None:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, value, rtol=1e-12, atol=1e-15)
    assert all(p.grad is None for p in unused.parameters()), "a part that nobody used must stay without gradient"

mine = torch.full((3 + processes.rank,), processes.rank, dtype=torch.uint8)
gathered = distributed.gather_bytes(mine, torch.device("cpu"))
assert [g.tolist() for g in gathered] == [[0] * 3, [1] * 4]
rows = torch.full((2, 3), float(processes.rank))
assert distributed.gather(rows).tolist() == [[0.0] * 3] * 2 + [[1.0] * 3] * 2
assert distributed.any_process(processes.rank == 1, torch.device("cpu"))
assert distributed.largest(15 * processes.rank, torch.device("cpu")) == 15
assert not distributed.any_process(False, torch.device("cpu"))
assert distributed.mean(torch.tensor(float(processes.rank))).item() == 0.5
if processes.rank == 0:
    try:
        distributed.mean(torch.ones(3))
    except GanzooError as error:
        assert "process 0 of 2 has lost the others" in str(error) and "--resume" in str(error)
    else:
        raise AssertionError("nobody was there")
distributed.stop()
print(f"[ok {processes.rank}]", end="")
"""


def test_two_processes_equal_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "[ok 0]" in done.stdout and "[ok 1]" in done.stdout
