"""The checks of regularizers, augmentations and degradations."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ganzoo.interfaces import Augmentation, Degradation, Discriminator, Generator, Regularizer, Translator
from ganzoo.testing.contract import BATCH_SIZE, Contract, random_images, with_fixed_seed
from ganzoo.testing.losses import SmallDiscriminator, SmallGenerator, check_terms_step, random_batch


@with_fixed_seed
def check_regularizer(
    cls: type[Regularizer],
    args: Mapping[str, Any] | None = None,
    *,
    c_dim: int = 0,
    players: tuple[Generator, Discriminator] | None = None,
) -> None:
    """Check a Regularizer class. args: as a recipe would give them. players: as in ``check_loss``.

    Raises AssertionError.
    """
    contract = Contract(cls, Regularizer)
    regularizer = contract.construct(args, paired=players is not None and isinstance(players[0], Translator))
    contract.require(getattr(regularizer, "player", None) in ("D", "G"), "player is neither 'D' nor 'G'")
    every = regularizer.every
    contract.require(isinstance(every, int) and every >= 1, f"every is {every!r}; wanted is a whole number from 1 on")
    sizes = {"c_dim": c_dim, "img_resolution": 8, "img_channels": 3}
    G, D = copy.deepcopy(players) if players else (SmallGenerator(**sizes), SmallDiscriminator(**sizes))
    with contract.attempt("check, with these players"):
        regularizer.check(G, D)
    batch = random_batch(G)
    trained, other = (D, G) if regularizer.player == "D" else (G, D)
    other.requires_grad_(False)
    if isinstance(regularizer, nn.Module):
        idle = [name for name, _ in regularizer.named_parameters()]
        contract.require(not idle, f"has parameters ({', '.join(idle)}), which nobody trains: use buffers")
    acts = type(regularizer).after_step is not Regularizer.after_step
    if acts:
        _check_after_step(contract, regularizer, trained)
    if acts and not regularizer.terms(G, D, batch):
        contract.require(every == 1, f"has no terms, so there is nothing to do every {every} steps: every must be 1")
        return
    check_terms_step(contract, regularizer, "terms", trained=trained, other=other, call=(G, D, batch))


def _check_after_step(contract: Contract, regularizer: Regularizer, player: nn.Module) -> None:
    """On copies: every process does it to its own, so the same must come of it, and weights that are numbers."""
    players = [copy.deepcopy(player) for _ in range(2)]
    states = [copy.deepcopy(regularizer) for _ in range(2)]
    for seed, (one, state) in enumerate(zip(players, states, strict=True)):
        torch.manual_seed(seed)
        with contract.attempt("after_step"), torch.no_grad():
            state.after_step(one)
    before, *after = (dict(p.named_parameters()) for p in (player, *players))
    for name, value in before.items():
        first, second = (p[name] for p in after)
        contract.require(first.shape == value.shape, f"after_step changes the shape of {name}")
        contract.require(bool(first.isfinite().all()), f"after_step makes {name} not finite")
        contract.require(
            torch.equal(first, second),
            f"after_step makes something else of the same {name} when called again: processes would drift apart",
        )


@with_fixed_seed
def check_augmentation(
    cls: type[Augmentation],
    args: Mapping[str, Any] | None = None,
    *,
    channels: Sequence[int] = (1, 3, 4),
    resolutions: Sequence[int] = (8, 32),
) -> None:
    """Check an Augmentation class on images of these ``channels`` and ``resolutions``. Raises AssertionError."""
    contract = Contract(cls, Augmentation)
    augmentation = contract.construct(args)
    idle = [name for name, _ in augmentation.named_parameters()]
    contract.require(not idle, f"has parameters ({', '.join(idle)}), which nobody trains: use buffers")
    for c in channels:
        for resolution in resolutions:
            _check_images(contract, augmentation, c, resolution)
    _check_adapt(contract, augmentation)
    img = random_images(BATCH_SIZE, channels[0], resolutions[0])
    with contract.attempt("under bf16 autocast"), torch.autocast("cpu", dtype=torch.bfloat16):
        out = augmentation(img)
    contract.require(bool(out.isfinite().all()), "under bf16 autocast images are not finite")


@with_fixed_seed
def check_degradation(
    cls: type[Degradation],
    args: Mapping[str, Any] | None = None,
    *,
    channels: Sequence[int] = (1, 3, 4),
    resolutions: Sequence[int] = (8, 32),
) -> None:
    """Check a Degradation class on images of these ``channels`` and ``resolutions``. Raises AssertionError."""
    contract = Contract(cls, Degradation)
    degradation = contract.construct(args)
    idle = [name for name, _ in degradation.named_parameters()]
    contract.require(not idle, f"has parameters ({', '.join(idle)}), which nobody trains: use buffers")
    constants = {name: buffer.clone() for name, buffer in degradation.named_buffers()}
    for c in channels:
        with contract.attempt(f"out_channels({c})"):
            out_channels = degradation.out_channels(c)
        for resolution in resolutions:
            what = f"images of {c} channels and {resolution} px"
            img = random_images(BATCH_SIZE, c, resolution)
            given, results = img.clone(), []
            for _ in range(2):
                torch.manual_seed(1)
                with contract.attempt(what), torch.no_grad():
                    results.append(degradation(given))
            out, again = results
            contract.require(torch.equal(img, given), f"{what}: changes them in place")
            wanted = (BATCH_SIZE, out_channels, resolution, resolution)
            contract.require(tuple(out.shape) == wanted, f"{what}: gives {list(out.shape)} where {wanted} is wanted")
            contract.require(out.dtype == torch.float32, f"{what}: gives {out.dtype}, not torch.float32")
            inside = bool(out.isfinite().all()) and float(out.abs().max()) <= 1 + 1e-5
            contract.require(inside, f"{what}: leaves the range [-1, 1]")
            contract.require(
                torch.equal(out, again),
                f"{what}: one seed of torch gives different images: resuming would not be exact",
            )
            contract.require(float(out.std()) > 0, f"{what}: gives one flat colour, from which nothing can be restored")
    changed = [name for name, buffer in degradation.named_buffers() if not torch.equal(buffer, constants[name])]
    contract.require(not changed, f"changes its buffers ({', '.join(changed)}), which nobody saves")


def _check_images(contract: Contract, augmentation: Augmentation, channels: int, resolution: int) -> None:
    what = f"images of {channels} channels and {resolution} px"
    img = random_images(BATCH_SIZE, channels, resolution)
    given = img.clone()
    with contract.attempt(what):
        out = augmentation(given)
    contract.require(torch.equal(img, given), f"{what}: changes them in place")
    contract.require(out.shape == img.shape, f"{what}: gives {list(out.shape)} for {list(img.shape)}")
    contract.require(out.dtype == torch.float32, f"{what}: gives {out.dtype}, not torch.float32")
    contract.require(bool(out.isfinite().all()), f"{what}: gives values that are not finite")

    results = []
    for _ in range(2):
        torch.manual_seed(1)
        results.append(augmentation(img))
    contract.require(
        torch.equal(*results), f"{what}: one seed of torch gives different images: resuming would not be exact"
    )

    # The gradient penalty: through the augmentation, twice.
    weight = torch.randn(img[0].numel(), requires_grad=True)
    img.requires_grad_()
    with contract.attempt(f"{what}: gradients of gradients"):
        score = (augmentation(img).flatten(1) @ weight).square().sum()
        (gradient,) = torch.autograd.grad(score, img, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), weight)
    contract.require(bool(gradient.count_nonzero()), f"{what}: no gradient reaches the image, so G learns nothing")
    contract.require(bool(second.isfinite().all()), f"{what}: gradients of gradients are not finite")


def _check_adapt(contract: Contract, augmentation: Augmentation) -> None:
    every = augmentation.adapts_every
    contract.require(isinstance(every, int) and every >= 0, f"adapts_every is {every!r}; wanted is a whole number")
    if not every:
        return
    before = {name: buffer.clone() for name, buffer in augmentation.named_buffers()}
    with contract.attempt("adapt"):
        for logits in (torch.full((BATCH_SIZE,), 5.0), torch.full((BATCH_SIZE,), -5.0)):
            for _ in range(3):
                augmentation.adapt(logits, 64)
                moved = [n for n, b in augmentation.named_buffers() if not torch.equal(b, before[n])]
                if moved:
                    break
            if moved:
                break
    contract.require(bool(moved), "adapt changes no buffer, so what it learned would be lost when a run is resumed")
    contract.require(
        all(bool(b.isfinite().all()) for b in augmentation.buffers()), "adapt makes a buffer that is not finite"
    )
    saved = set(augmentation.state_dict())
    contract.require(set(moved) <= saved, f"adapt changes {', '.join(set(moved) - saved)}, which is not saved")
