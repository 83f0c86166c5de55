"""What two processes draw, gather and normalise is what one does; derivatives included."""

import os
import socket
import subprocess
import sys

import torch
from torch import nn

from ganzoo import whole_batch

SCRIPT = """
import multiprocessing, os, sys
import torch
import torch.distributed as dist
from torch import nn
from ganzoo import whole_batch

N, WORLD = 6, 2


def check(rank, port):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD)
    rows = slice(rank * 3, rank * 3 + 3)

    # Draws: the rows of what one process draws, in one stream with what is drawn once for all.
    def draws(n):
        return [
            whole_batch.randn(n, 2),
            whole_batch.rand(4, n, batch_dim=1).T,
            whole_batch.rand(3, batch_dim=None),
            whole_batch.randint(0, 10, (n,)),
            whole_batch.randint(0, 10, (), batch_dim=None),
        ]

    torch.manual_seed(5)
    alone = draws(N)
    torch.manual_seed(rank)  # of no importance
    with whole_batch.together(rank, WORLD, seed=5):
        for one, two in zip(alone, draws(3)):
            assert torch.equal(two, one if len(one.shape) == 0 or len(one) == 3 else one[rows])
        state = whole_batch.get_state()
        after = whole_batch.rand(3)
        whole_batch.set_state(state)
        assert torch.equal(after, whole_batch.rand(3))
        with whole_batch.alone():
            assert whole_batch.get_state() is None and len(whole_batch.gather(torch.ones(3))) == 3

    # Statistics: batch norm, and a function of all rows; first and second derivatives, of parameters and images.
    torch.manual_seed(0)
    x = torch.randn(N, 4, 5, dtype=torch.float64) * 3 + 100
    target = torch.randn(N, 4, 5, dtype=torch.float64)

    def outcome(x, target):
        norm = whole_batch.BatchNorm2d(4).double()
        nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
        x = x.clone().requires_grad_()
        y = norm(x[..., None])[..., 0]
        spread = whole_batch.gather(y).var(dim=0).square().sum()
        score = ((y - target) ** 4).flatten(1).sum(1) + spread
        (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
        loss = gradient.square().flatten(1).sum(1).mean() + score.mean()
        loss.backward()
        loss = whole_batch.mean(loss.detach())
        return loss, whole_batch.mean(norm.weight.grad), x.grad, norm.running_mean, norm.running_var

    one = outcome(x, target)
    with whole_batch.together(rank, WORLD, seed=0):
        two = outcome(x[rows], target[rows])
    for name, a, b in zip("loss weight x running_mean running_var".split(), one, two):
        if name == "x":  # of a mean over a share: twice as large
            a, b = a[rows], b / WORLD
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10, msg=lambda m: f"{name}: {m}")

    # Each on its own: common draws stay common, others differ.
    with whole_batch.together(rank, WORLD, seed=5, whole=False):
        torch.manual_seed(rank)
        own, common = whole_batch.rand(2), whole_batch.rand(2, batch_dim=None)
        assert len(whole_batch.gather(own)) == 2 and torch.equal(whole_batch.share(own), own)
        both = [torch.empty(2) for _ in range(WORLD)]
        dist.all_gather(both, own)
        assert not torch.equal(*both)
        dist.all_gather(both, common)
        assert torch.equal(*both)
    dist.destroy_process_group()


fork = multiprocessing.get_context("fork")
group = [fork.Process(target=check, args=(rank, sys.argv[1])) for rank in range(WORLD)]
[process.start() for process in group]
[process.join() for process in group]
sys.exit(any(process.exitcode for process in group))
"""


def test_two_processes_are_one():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, port],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_one_process_is_torch():
    torch.manual_seed(0)
    expected = torch.rand(3, 2), torch.randn(4), torch.randint(2, 9, (5,))
    torch.manual_seed(0)
    drawn = whole_batch.rand(3, 2), whole_batch.randn(4), whole_batch.randint(2, 9, (5,))
    assert all(torch.equal(a, b) for a, b in zip(expected, drawn, strict=True))
    x = torch.randn(4, 3, 2, 2)
    assert whole_batch.gather(x) is x and whole_batch.share(x) is x and whole_batch.mean(x) is x
    ours, theirs = whole_batch.BatchNorm2d(3), nn.BatchNorm2d(3)
    assert torch.equal(ours(x), theirs(x))
    assert all(torch.equal(a, theirs.state_dict()[name]) for name, a in ours.state_dict().items())
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
