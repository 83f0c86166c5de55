"""Blocks that are computed again for their gradients give the same ones, of first and of second order."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ganzoo
from ganzoo import whole_batch
from ganzoo.recomputation import recomputing


class Block(nn.Module):
    """What makes it hard: random numbers, statistics of the batch, a power iteration, an activation in place."""

    def __init__(self, *, common: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = whole_batch.BatchNorm2d(4)
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("u", F.normalize(torch.randn(4), dim=0))
        self.common = common
        self.calls = 0

    def forward(self, x, shift=None, *, factor: float = 1.0):
        self.calls += 1
        matrix = self.conv.weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(matrix.T @ self.u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
            self.u.copy_(u)
        weight = self.conv.weight / torch.dot(u, matrix @ v)
        x = F.leaky_relu(F.conv2d(x, weight, self.conv.bias, padding=1), 0.2, inplace=True)
        noise = (whole_batch.randn if self.common else torch.randn)(len(x), 1, *x.shape[2:])
        x = torch.tanh(self.norm(x) + 0.1 * noise) * factor
        return x if shift is None else x + shift[:, :, None, None]


class Network(nn.Module):
    def __init__(self, **options) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(**options) for _ in range(3)])
        self.dense = nn.Linear(4, 1)

    def forward(self, x, shift=None):
        for i, block in enumerate(self.blocks):
            x = ganzoo.recompute(8 << i, block, x, shift, factor=1.5)
        return self.dense(x.square().mean(dim=(2, 3)))


def penalised(network, images, shift=None):
    """A loss with two calls and a gradient penalty, as WGAN-GP's; calls in between move the buffers on."""
    mixed = (images * 0.5).requires_grad_()
    scores = network(mixed, shift)
    (gradient,) = torch.autograd.grad(scores.sum(), mixed, create_graph=True)
    norms = gradient.flatten(1).norm(dim=1)
    return network(images, shift).mean() - network(-images, shift).mean() + (norms - 1).square().mean()


def results(network, from_resolution, loss=penalised, *, precision=None, shift=None):
    """Loss, gradients, buffers and the next random number."""
    network = copy.deepcopy(network).double() if precision is None else copy.deepcopy(network)
    torch.manual_seed(5)
    images = torch.randn(6, 4, 8, 8, dtype=torch.float64 if precision is None else torch.float32)
    with recomputing(from_resolution):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            value = loss(network, images, shift)
        value.backward()
    found = {"loss": value.detach(), "next random number": torch.rand(1)}
    found |= {f"gradient of {name}": p.grad for name, p in network.named_parameters()}
    return found | dict(network.named_buffers()), network


def assert_alike(one, two, tolerance):
    assert one.keys() == two.keys()
    for name, value in one.items():
        if value is None:
            assert two[name] is None, name
        else:
            torch.testing.assert_close(two[name], value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network()


@pytest.mark.parametrize("from_resolution", [8, 16, 32])
def test_losses_gradients_and_buffers_are_the_same(network, from_resolution):
    plain, _ = results(network, None)
    again, ran = results(network, from_resolution)
    assert_alike(plain, again, 1e-12)
    assert plain["gradient of blocks.0.unused"] is None and again["gradient of blocks.0.unused"] is None
    # Three calls, three gradients of their outputs, one of the penalised call's, and one of that gradient.
    assert [block.calls for block in ran.blocks] == [8 if 8 << i >= from_resolution else 3 for i in range(3)]


def test_an_argument_that_is_no_image_gets_its_gradient(network):
    found = []
    for from_resolution in (None, 8):
        shift = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        found.append(results(network, from_resolution, shift=shift)[0] | {"shift": shift.grad})
    assert_alike(*found, 1e-12)


def test_a_gradient_with_respect_to_what_enters_blocks_is_differentiated(network):
    """Path length: the gradient of images with respect to styles that several blocks share."""

    def path_length(network, images, _):
        styles = images.mean(dim=(2, 3)).requires_grad_()
        (gradient,) = torch.autograd.grad(network(images, styles).sum(), styles, create_graph=True)
        return gradient.square().sum(dim=1).sqrt().mean()

    assert_alike(results(network, None, path_length)[0], results(network, 8, path_length)[0], 1e-12)


def test_second_derivatives_agree_with_differences(network):
    torch.manual_seed(1)
    block = network.blocks[0].double()

    def scores(x):
        torch.manual_seed(2)
        with recomputing(8):
            return ganzoo.recompute(8, block, x)

    block.eval()  # the power iteration goes on; converged, it changes nothing
    for _ in range(500):
        block(torch.zeros(2, 4, 3, 3, dtype=torch.float64))
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scores, x)
    assert torch.autograd.gradgradcheck(scores, x)


def test_in_bf16_it_is_as_exact_as_without(network):
    """Sums of bf16 gradients may be taken in another order: what counts is the distance from the fp32 result."""
    exact, plain, again = (
        results(network, r, precision=p)[0] for r, p in ((None, "fp32"), (None, "bf16"), (8, "bf16"))
    )
    assert torch.equal(plain["loss"], again["loss"])
    for name, value in exact.items():
        if value is not None and "gradient" in name:
            errors = [(found[name] - value).norm() / value.norm().clamp(min=1e-6) for found in (plain, again)]
            assert errors[1] < 1.3 * errors[0] + 1e-3 and errors[1] < 0.2, (name, errors)


def test_the_common_generator_is_replayed_too():
    torch.manual_seed(0)
    network = Network(common=True)
    found = []
    for from_resolution in (None, 8):
        # As the second of two processes draws; it does not exchange anything here.
        with whole_batch.together(1, 2, seed=7):
            network.eval()
            found.append(
                results(network, from_resolution)[0] | {"common": torch.tensor(whole_batch.get_state()["cpu"])}
            )
    assert_alike(*found, 1e-12)


def test_a_frozen_player_passes_gradients_on(network):
    def through_frozen(network, images, _):
        network.dense.requires_grad_(False)
        for block in network.blocks[1:]:
            block.requires_grad_(False)
        return network(images).mean()

    plain, again = (results(network, r, through_frozen)[0] for r in (None, 8))
    assert again["gradient of blocks.1.conv.weight"] is None
    assert_alike(plain, again, 1e-12)


class Token:
    pass


class Witness(torch.autograd.Function):
    """The identity, differentiable twice. A token lives as long as what autograd keeps of the call."""

    tokens: ClassVar[list[weakref.ref]] = []

    @staticmethod
    def forward(ctx, x):
        ctx.token = Token()
        Witness.tokens.append(weakref.ref(ctx.token))
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return Witness.apply(grad)


class Watched(nn.Module):
    def forward(self, x):
        return Witness.apply(x.tanh()).exp()


@pytest.mark.parametrize("from_resolution, alive", [(None, 1), (8, 0)])
def test_what_a_block_computed_is_forgotten(from_resolution, alive):
    """Also while a gradient penalty's first backward pass is kept for the second."""
    Witness.tokens.clear()
    x = torch.randn(3, requires_grad=True)

    def count():
        gc.collect()
        return sum(token() is not None for token in Witness.tokens)

    with recomputing(from_resolution):
        y = ganzoo.recompute(8, Watched(), x)
        assert count() == alive
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        assert count() == 2 * alive
    gradient.square().sum().backward()
    del y, gradient
    assert count() == 0 and x.grad is not None


def test_a_function_is_refused():
    with pytest.raises(TypeError, match="needs a module that has the parameters, not function"):
        ganzoo.recompute(8, lambda x: x, torch.zeros(1))


def test_without_gradients_it_is_the_plain_call(network):
    with recomputing(8), torch.no_grad():
        network(torch.randn(2, 4, 8, 8))
    assert [block.calls for block in network.blocks] == [1, 1, 1]
