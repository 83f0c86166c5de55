"""The check of losses, on two small networks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.interfaces import Batch, Discriminator, Generator, GrowthState, Loss, Regularizer, Translator
from ganzoo.testing.contract import BATCH_SIZE, Contract, growth_state, random_images, random_labels, with_fixed_seed

Terms = dict[str, Tensor]


class SmallGenerator(Generator):
    """One dense layer and tanh."""

    def __init__(self, *, c_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__(z_dim=8, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.dense = nn.Linear(self.z_dim + c_dim, img_channels * img_resolution**2)

    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        x = z if c is None else torch.cat([z, c], dim=1)
        return self.dense(x).float().tanh().reshape(-1, self.img_channels, self.img_resolution, self.img_resolution)


class SmallDiscriminator(Discriminator):
    """A convolution and a dense layer; labels are classified (AC-GAN)."""

    has_features = True

    def __init__(self, *, c_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.aux_dim = c_dim
        self.conv = nn.Conv2d(img_channels, 8, 3, padding=1)
        self.dense = nn.Linear(8 * 16, 1 + c_dim)

    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        return self.dense(self.features(img, c, growth=growth)).float()

    def features(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """Averages of the convolution, [N, 8 * 16]."""
        return F.adaptive_avg_pool2d(F.softplus(self.conv(img)), 4).flatten(1).float()


@with_fixed_seed
def check_loss(
    cls: type[Loss],
    args: Mapping[str, Any] | None = None,
    *,
    c_dim: int = 0,
    players: tuple[Generator, Discriminator] | None = None,
) -> None:
    """Check a Loss class. args: as a recipe would give them.

    players: a loss that works with special networks only brings a pair; copies of them are used, at their
    ``img_resolution``. None: small unconditional ones, or with ``c_dim`` ones that use labels. With a Translator, the
    batch is one of pairs (``paired`` is True). Raises AssertionError.
    """
    contract = Contract(cls, Loss)
    loss = contract.construct(args, paired=players is not None and isinstance(players[0], Translator))
    sizes = {"c_dim": c_dim, "img_resolution": 8, "img_channels": 3}
    G, D = copy.deepcopy(players) if players else (SmallGenerator(**sizes), SmallDiscriminator(**sizes))
    batch = random_batch(G)
    check_terms_step(contract, loss, "d_loss", trained=D, other=G, call=(G, D, batch))
    D.requires_grad_(False)
    check_terms_step(contract, loss, "g_loss", trained=G, other=D, call=(G, D, batch))


def random_batch(G: Generator) -> Batch:
    """What a loss gets with this generator."""
    real = random_images(BATCH_SIZE, G.img_channels, G.img_resolution)
    if isinstance(G, Translator):
        z = random_images(BATCH_SIZE, G.in_channels, G.img_resolution)
    else:
        z = torch.randn(BATCH_SIZE, G.z_dim)
    labels = random_labels(BATCH_SIZE, G.c_dim)
    return Batch(real=real, c=labels, z=z, gen_c=labels, growth=growth_state(G.img_resolution))


def check_terms_step(
    contract: Contract,
    loss: Loss | Regularizer,
    method: str,
    *,
    trained: nn.Module,
    other: nn.Module,
    call: tuple[Generator, Discriminator, Batch],
) -> None:
    """One player's step, in the two precisions, as the loop would take it."""
    before = [copy.deepcopy(dict(player.named_parameters())) for player in (trained, other)]
    real = call[2].real.clone()
    for precision, enabled in (("float32", False), ("bf16 autocast", True)):
        with contract.attempt(f"{method} in {precision}"), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = getattr(loss, method)(*call)
        _check_terms(contract, method, terms, len(real), precision)
        contract.require(_untouched(trained) and _untouched(other), f"{method} calls backward: that is the loop's work")
        with contract.attempt(f"the backward pass of {method} in {precision}"):
            torch.stack([term.float().mean() for term in terms.values()]).sum().backward()
        contract.require(
            _untouched(other),
            f"{method} leaves gradients in the other player, {type(other).__name__}: "
            "compute what it makes under torch.no_grad()",
        )
        gradients = [p.grad for p in trained.parameters() if p.grad is not None]
        useful = any(bool(g.count_nonzero()) for g in gradients) and all(bool(g.isfinite().all()) for g in gradients)
        contract.require(useful, f"{method} gives {type(trained).__name__} no gradient, or one that is not finite")
        trained.zero_grad(set_to_none=True)
    for player, parameters in zip((trained, other), before, strict=True):
        same = all(torch.equal(parameters[name], p) for name, p in player.named_parameters())
        contract.require(same, f"{method} changes parameters of {type(player).__name__}: that is the optimiser's work")
    contract.require(torch.equal(real, call[2].real), f"{method} changes batch.real in place")


def _check_terms(contract: Contract, method: str, terms: Terms, n: int, precision: str) -> None:
    contract.require(isinstance(terms, dict) and len(terms) > 0, f"{method} returns {terms!r}, not a dict of terms")
    for name, term in terms.items():
        contract.require(
            isinstance(name, str) and isinstance(term, Tensor) and tuple(term.shape) in [(), (n,), (n, 1)],
            f"{method}'s term {name!r} is {_describe(term)}; wanted is a tensor [{n}], [{n}, 1] or a scalar, not yet "
            "averaged over more than the batch",
        )
        contract.require(
            bool(term.isfinite().all()), f"{method}'s term {name!r} has values that are not finite in {precision}"
        )
    contract.require(
        any(term.requires_grad for term in terms.values()), f"{method} returns only terms without a gradient"
    )


def _untouched(player: nn.Module) -> bool:
    return all(p.grad is None for p in player.parameters())


def _describe(term: object) -> str:
    return f"a tensor {list(term.shape)}" if isinstance(term, Tensor) else repr(term)
