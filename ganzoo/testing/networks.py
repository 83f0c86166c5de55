"""Checks of generators and discriminators."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.interfaces import Discriminator, Generator, GrowthState, StyleGenerator, Translator
from ganzoo.testing.contract import (
    BATCH_SIZE,
    Contract,
    close,
    growth_state,
    growth_states,
    parameters_with_gradient,
    random_images,
    random_labels,
    shake_parameters,
    take,
    with_fixed_seed,
)
from ganzoo.testing.recompute import check_recompute
from ganzoo.weights import load_weights, save_weights

Run = Callable[[nn.Module, GrowthState], Tensor]


@with_fixed_seed
def check_generator(
    cls: type[Generator],
    args: Mapping[str, Any] | None = None,
    *,
    img_resolution: int = 16,
    img_channels: int = 3,
    c_dim: int = 0,
    resolutions: Sequence[int] | None = None,
) -> None:
    """Check a Generator class. args: as a recipe would give them.

    resolutions: for a generator that grows, all of them in order, ending with ``img_resolution``; then fading is
    checked too. None: it only ever makes images of ``img_resolution``. Raises AssertionError.
    """
    contract = Contract(cls, Generator)
    sizes = {"img_resolution": img_resolution, "img_channels": img_channels, "c_dim": c_dim}
    G = contract.construct(args, **sizes)
    _check_attributes(contract, G, {"z_dim": None, **sizes})
    z, c = torch.randn(BATCH_SIZE, G.z_dim), random_labels(BATCH_SIZE, c_dim)
    resolutions = list(resolutions or [img_resolution])

    def run(network: nn.Module, growth: GrowthState) -> Tensor:
        with contract.attempt(f"forward at {_name(growth)}"):
            return network(z, c, growth=growth)

    for growth in growth_states(resolutions):
        img = run(G, growth)
        wanted = (BATCH_SIZE, img_channels, growth.resolution, growth.resolution)
        _check_output(contract, img, [wanted], growth)
        _check_range(contract, img, growth)
    final = growth_state(resolutions[-1])
    _check_gradients(contract, G, run, resolutions)
    _check_repeatable(contract, G, run, final)
    with contract.attempt("forward of one image"):
        alone = _eval(G)(z[:1], take(c, slice(1)), growth=final)
    contract.require(
        close(alone, run(_eval(G), final)[:1]),
        "in eval mode an image depends on the others of its batch, so pictures would change with the batch size",
    )
    _check_weights(contract, G, contract.construct(args, **sizes), run, final)
    _check_autocast(contract, G, run, final)
    check_recompute(contract, G, lambda network: run(network, final))
    if isinstance(G, StyleGenerator):
        _check_styles(Contract(cls, StyleGenerator), G, z, c, final)
    for older, newer in pairwise(resolutions):
        faded, old = run(_eval(G), growth_state(newer, 0.0)), run(_eval(G), growth_state(older))
        contract.require(
            close(faded, F.interpolate(old, size=(newer, newer))),
            f"at {newer} px with alpha=0 the image is not the {older} px image with every pixel enlarged",
        )
        _check_old_branch_unused(contract, G, run, newer)


@with_fixed_seed
def check_translator(
    cls: type[Translator],
    args: Mapping[str, Any] | None = None,
    *,
    img_resolution: int = 16,
    in_channels: int = 3,
    img_channels: int = 3,
    c_dim: int = 0,
) -> None:
    """Check a Translator class, in every direction that it has. args: as a recipe would give them.

    Raises AssertionError.
    """
    contract = Contract(cls, Translator)
    sizes = {
        "img_resolution": img_resolution, "img_channels": img_channels, "c_dim": c_dim, "in_channels": in_channels
    }  # fmt: skip
    G = contract.construct(args, **sizes)
    _check_attributes(contract, G, {"z_dim": 0, **sizes})
    c, final = random_labels(BATCH_SIZE, c_dim), growth_state(img_resolution)
    sources = {
        "a2b": random_images(BATCH_SIZE, in_channels, img_resolution),
        "b2a": random_images(BATCH_SIZE, img_channels, img_resolution),
    }
    directions = list(G.directions)
    known = directions[:1] == ["a2b"] and set(directions) <= set(sources)
    contract.require(known, f"directions are {directions}; wanted is 'a2b', then perhaps 'b2a'")

    def run(network: nn.Module, growth: GrowthState) -> Tensor:
        with contract.attempt("forward"):
            return network(sources["a2b"], c, growth=growth)

    def run_all(network: nn.Module, growth: GrowthState) -> Tensor:
        """Every direction, so that a network of each is seen."""
        with contract.attempt("translate"):
            out = [network.translate(sources[way], c, direction=way, growth=growth) for way in directions]  # type: ignore[operator]
        return torch.cat([img.flatten(1) for img in out], 1)

    given = sources["a2b"].clone()
    img = run(G, final)
    contract.require(torch.equal(given, sources["a2b"]), "forward changes its source in place")
    _check_output(contract, img, [(BATCH_SIZE, img_channels, img_resolution, img_resolution)], final)
    _check_range(contract, img, final)
    _check_gradients(contract, G, run_all, [img_resolution])
    _check_repeatable(contract, G, run_all, final)
    quiet = _eval(G)
    assert isinstance(quiet, Translator)
    with contract.attempt("forward of one image"):
        alone = quiet(sources["a2b"][:1], take(c, slice(1)), growth=final)
    contract.require(
        close(alone, run(quiet, final)[:1]),
        "in eval mode an image depends on the others of its batch, so pictures would change with the batch size",
    )
    contract.require(
        not close(quiet(-sources["a2b"], c, growth=final), run(quiet, final)), "the images do not depend on the source"
    )
    _check_directions(contract, quiet, sources, c, final)
    _check_sizes(contract, quiet, sources["a2b"], c, final)
    _check_weights(contract, G, contract.construct(args, **sizes), run_all, final)
    _check_autocast(contract, G, run_all, final)


def _check_directions(
    contract: Contract, G: Translator, sources: Mapping[str, Tensor], c: Tensor | None, growth: GrowthState
) -> None:
    channels = {"a2b": G.img_channels, "b2a": G.in_channels}
    for way in G.directions:
        with contract.attempt(f"translate, direction {way!r}"):
            out = G.translate(sources[way], c, direction=way, growth=growth)
        wanted = (BATCH_SIZE, channels[way], *sources[way].shape[2:])
        contract.require(
            tuple(out.shape) == wanted, f"translate {way} gives {list(out.shape)} where {wanted} is wanted"
        )
        if way == "a2b":
            same = torch.equal(out, G(sources[way], c, growth=growth))
            contract.require(same, "translate in direction 'a2b' is not forward")
    try:
        G.translate(sources["a2b"], c, direction="nowhere", growth=growth)
    except ValueError:
        return
    contract.require(False, "translate takes a direction that does not exist; wanted is a ValueError")


def _check_sizes(contract: Contract, G: Translator, source: Tensor, c: Tensor | None, growth: GrowthState) -> None:
    m = G.size_multiple
    contract.require(isinstance(m, int) and m >= 1, f"size_multiple is {m!r}; wanted is a whole number from 1 on")
    contract.require(
        growth.resolution % m == 0, f"size_multiple is {m}, and images of {growth.resolution} px are no multiple of it"
    )
    height, width = growth.resolution + m, growth.resolution + 2 * m
    other = random_images(1, source.shape[1], max(height, width))[..., :height, :width]
    with contract.attempt(f"forward of an image of {width} x {height} px, which size_multiple={m} allows,"):
        out = G(other, take(c, slice(1)), growth=growth)
    contract.require(
        out.shape[2:] == other.shape[2:], f"an image of {width} x {height} px comes out as {list(out.shape[2:])}"
    )


@with_fixed_seed
def check_discriminator(
    cls: type[Discriminator],
    args: Mapping[str, Any] | None = None,
    *,
    img_resolution: int = 16,
    img_channels: int = 3,
    c_dim: int = 0,
    in_channels: int = 3,
    resolutions: Sequence[int] | None = None,
    minibatch_statistics: bool = False,
) -> None:
    """Check a Discriminator class. args, resolutions: as in ``check_generator``.

    in_channels: of the images to translate, for one that declares it. minibatch_statistics: True if a logit may depend
    on the other images of its batch. Raises AssertionError.
    """
    contract = Contract(cls, Discriminator)
    sizes = {"img_resolution": img_resolution, "img_channels": img_channels, "c_dim": c_dim}
    D = contract.construct(args, **sizes, in_channels=in_channels)
    _check_attributes(contract, D, {"aux_dim": None, **sizes})
    resolutions = list(resolutions or [img_resolution])
    images = {r: random_images(BATCH_SIZE, img_channels, r) for r in resolutions}
    c = random_labels(BATCH_SIZE, c_dim)
    sources = {r: random_images(BATCH_SIZE, in_channels, r) for r in resolutions} if D.sees_source else {}

    def call(network: nn.Module, growth: GrowthState, img: Tensor, part: slice = slice(None)) -> Tensor:
        source = {"source": sources[growth.resolution][part]} if sources else {}
        return network(img[part], take(c, part), growth=growth, **source)

    def run(network: nn.Module, growth: GrowthState) -> Tensor:
        with contract.attempt(f"forward at {_name(growth)}"):
            return call(network, growth, images[growth.resolution])

    for growth in growth_states(resolutions):
        logits = run(D, growth)
        patches = (BATCH_SIZE, 1, *logits.shape[2:])
        wanted = [(BATCH_SIZE, 1 + D.aux_dim), *([patches] if logits.ndim == 4 and D.aux_dim == 0 else [])]
        _check_output(contract, logits, wanted, growth)
    final = growth_state(resolutions[-1])
    _check_no_sigmoid(contract, D, run, final)
    _check_features(contract, D, images, c, resolutions)
    if not sources:
        _check_score_both(contract, D, images, c, resolutions)
    _check_gradients(contract, D, run, resolutions)
    _check_repeatable(contract, D, run, final)
    if not minibatch_statistics:
        with contract.attempt("forward of one image"):
            alone = call(_eval(D), final, images[final.resolution], slice(1))
        contract.require(
            close(alone, run(_eval(D), final)[:1]),
            "a logit depends on the other images of its batch; if that is meant, check with minibatch_statistics=True",
        )
    _check_weights(contract, D, contract.construct(args, **sizes, in_channels=in_channels), run, final)
    _check_autocast(contract, D, run, final)
    check_recompute(contract, D, lambda network: run(network, final))
    _check_double_backward(contract, D, images[final.resolution], lambda D, img: call(D, final, img))
    if sources:
        before = run(_eval(D), final)
        sources[final.resolution] = -sources[final.resolution]
        contract.require(
            not close(before, run(_eval(D), final)), "sees_source is True, and the source changes no logit"
        )
    for older, newer in pairwise(resolutions):
        images[older] = F.avg_pool2d(images[newer], newer // older)
        contract.require(
            close(run(_eval(D), growth_state(newer, 0.0)), run(_eval(D), growth_state(older))),
            f"at {newer} px with alpha=0 the logits are not those of the image averaged down to {older} px",
        )
        _check_old_branch_unused(contract, D, run, newer)


def _check_score_both(
    contract: Contract, D: Discriminator, images: Mapping[int, Tensor], c: Tensor | None, resolutions: Sequence[int]
) -> None:
    """Whatever is done for both at once, in training as well: as if each batch had been alone."""
    for growth in growth_states(resolutions):
        fake, fake_c = images[growth.resolution], c
        real, real_c = -fake.flip(0).square(), None if c is None else c.flip(0)
        both, each = copy.deepcopy(D).train(), copy.deepcopy(D).train()
        with contract.attempt(f"score_both at {_name(growth)}"), torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            found = both.score_both(fake, real, fake_c, real_c, growth=growth)
            torch.manual_seed(0)
            wanted = Discriminator.score_both(each, fake, real, fake_c, real_c, growth=growth)
        contract.require(
            all(close(one, other) for one, other in zip(found, wanted, strict=True)),
            f"score_both at {_name(growth)} does not give the logits of two calls, of the generated images first",
        )


def _check_styles(contract: Contract, G: StyleGenerator, z: Tensor, c: Tensor | None, growth: GrowthState) -> None:
    """mapping and synthesis are the two halves of forward; truncation, and noise that can be left out."""
    _check_attributes(contract, G, {"w_dim": None, "num_ws": None})
    quiet = _eval(G)
    assert isinstance(quiet, StyleGenerator)
    buffers = {name: buffer.clone() for name, buffer in G.named_buffers()}
    with contract.attempt("mapping"):
        w, trained_w = quiet.mapping(z, c), G.mapping(z, c)
    contract.require(w.shape == (len(z), G.w_dim), f"mapping gives {list(w.shape)}; wanted is [{len(z)}, {G.w_dim}]")
    contract.require(close(trained_w.detach(), w), "mapping gives another w in training mode: mix in forward")
    same = all(torch.equal(buffer, buffers[name]) for name, buffer in G.named_buffers())
    contract.require(same, "mapping changes a buffer: w_avg is followed in forward, in training mode")
    ws = quiet.broadcast(w)
    contract.require(ws.shape == (len(z), G.num_ws, G.w_dim), f"broadcast gives {list(ws.shape)}")
    with contract.attempt("synthesis"):
        whole, const, again = (
            quiet(z, c, growth=growth),
            quiet.synthesis(ws, growth=growth, noise="const"),
            quiet.synthesis(ws, growth=growth, noise="const"),
        )
        quiet.synthesis(ws, growth=growth, noise="none")
        quiet.synthesis(ws, growth=growth, noise="random")
    contract.require(torch.equal(const, again), "synthesis with noise='const' gives different images of one w")
    contract.require(
        close(const, whole), "in eval mode, forward is not synthesis(broadcast(mapping(z, c)), noise='const')"
    )
    used = quiet.num_ws_at(growth.resolution)
    contract.require(1 <= used <= G.num_ws, f"num_ws_at({growth.resolution}) is {used} of {G.num_ws}")
    trained = copy.deepcopy(G).train()
    shake_parameters(trained)
    trained(z, c, growth=growth)
    contract.require(not torch.equal(trained.w_avg, G.w_avg), "forward in training mode does not follow w_avg")


def _check_attributes(contract: Contract, network: nn.Module, wanted: Mapping[str, int | None]) -> None:
    for name, value in wanted.items():
        found = getattr(network, name, None)
        contract.require(
            isinstance(found, int) and value in (None, found),
            f"attribute {name} is {found!r}{'' if value is None else f' where core gave {value}'}: "
            "call super().__init__ with it",
        )


def _check_output(contract: Contract, out: Tensor, shapes: Sequence[tuple[int, ...]], growth: GrowthState) -> None:
    found = tuple(out.shape)
    allowed = " or ".join(map(str, shapes))
    contract.require(found in shapes, f"at {_name(growth)} the output has shape {found} where {allowed} is wanted")
    contract.require(out.dtype == torch.float32, f"at {_name(growth)} the output is {out.dtype}, not torch.float32")
    contract.require(bool(out.isfinite().all()), f"at {_name(growth)} the output has values that are not finite")


def _check_range(contract: Contract, img: Tensor, growth: GrowthState) -> None:
    low, high = img.min().item(), img.max().item()
    hint = "black is -1 and white is 1"
    contract.require(low < 0, f"at {_name(growth)} images are never negative, as after a sigmoid: {hint}")
    contract.require(
        max(-low, high) < 20, f"at {_name(growth)} images range from {low:.3g} to {high:.3g} untrained: {hint}"
    )
    contract.require(low < high, f"at {_name(growth)} images are one flat colour")


def _check_no_sigmoid(contract: Contract, D: nn.Module, run: Run, growth: GrowthState) -> None:
    logits = []
    for _ in range(8):
        shaken = copy.deepcopy(D)
        shake_parameters(shaken)
        logits.append(run(shaken, growth).detach())
    both = torch.stack(logits)
    contract.require(
        float(both.min()) < 0 or float(both.max()) > 1,
        "the logits of 8 random networks all lie in [0, 1]: return them before the sigmoid, losses apply it",
    )


def _check_features(
    contract: Contract, D: Discriminator, images: Mapping[int, Tensor], c: Tensor | None, resolutions: Sequence[int]
) -> None:
    """Vectors of one length, that the image moves and that move the logits."""
    if not D.has_features:
        with contract.attempt("features, which has_features denies"):
            try:
                D.features(images[resolutions[-1]], c, growth=growth_state(resolutions[-1]))
            except ValueError:
                return
        contract.require(False, "features gives some, and has_features is false: no regularizer would ask for them")
    lengths = set()
    for growth in growth_states(resolutions):
        img = images[growth.resolution].clone().requires_grad_()
        quiet = _eval(D)
        assert isinstance(quiet, Discriminator)
        with contract.attempt(f"features at {_name(growth)}"):
            found = quiet.features(img, c, growth=growth)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                half = quiet.features(img.detach(), c, growth=growth)
        contract.require(
            found.ndim == 2 and len(found) == len(img) and found.dtype == half.dtype == torch.float32,
            f"features at {_name(growth)} are {found.dtype} (under bf16 autocast {half.dtype}) {list(found.shape)}; "
            f"wanted is torch.float32 [{len(img)}, F]",
        )
        contract.require(bool(found.isfinite().all()), f"features at {_name(growth)} are not finite")
        (gradient,) = torch.autograd.grad(found.square().sum(), img, allow_unused=True)
        reached = gradient is not None and bool(gradient.count_nonzero())
        contract.require(reached, f"no gradient of the features at {_name(growth)} reaches the image: G learns nothing")
        lengths.add(found.shape[1])
    contract.require(len(lengths) == 1, f"features have different lengths as D grows: {sorted(lengths)}")


def _check_gradients(contract: Contract, network: nn.Module, run: Run, resolutions: Sequence[int]) -> None:
    """Every parameter is trained in some state; one that never is costs memory and moves only by decay."""
    shaken = copy.deepcopy(network)
    shake_parameters(shaken)
    trained: set[str] = set()
    for growth in growth_states(resolutions):
        out = run(shaken, growth)
        with contract.attempt(f"the backward pass at {_name(growth)}"):
            trained |= parameters_with_gradient(shaken, out)
    idle = [name for name, p in network.named_parameters() if p.requires_grad and name not in trained]
    contract.require(not idle, f"no gradient reaches {', '.join(idle)} at any of {list(resolutions)} px")


def _check_repeatable(contract: Contract, network: nn.Module, run: Run, growth: GrowthState) -> None:
    first, second = run(_eval(network), growth), run(_eval(network), growth)
    contract.require(torch.equal(first, second), "in eval mode the same input gives different outputs")


def _check_weights(contract: Contract, network: nn.Module, other: nn.Module, run: Run, growth: GrowthState) -> None:
    """All that makes the output must be in the state_dict, which must survive a snapshot file and copy.deepcopy."""
    out = run(_eval(network), growth)
    with tempfile.TemporaryDirectory() as folder, contract.attempt("saving and loading the state_dict"):
        path = Path(folder) / "weights.safetensors"
        save_weights(path, network.state_dict(), {})
        other.load_state_dict(load_weights(path)[0])
    message = "a network loaded from the state_dict of another gives other outputs: is a random tensor no buffer?"
    contract.require(torch.equal(out, run(other.eval(), growth)), message)


def _check_autocast(contract: Contract, network: nn.Module, run: Run, growth: GrowthState) -> None:
    with contract.attempt("training under bf16 autocast"):
        trained = copy.deepcopy(network).train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = run(trained, growth)
        out.float().square().mean().backward()
    finite = all(bool(p.grad.isfinite().all()) for p in trained.parameters() if p.grad is not None)
    contract.require(bool(out.isfinite().all()) and finite, "under bf16 autocast outputs or gradients are not finite")


def _check_double_backward(
    contract: Contract, D: nn.Module, img: Tensor, call: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    with contract.attempt("a gradient penalty (the gradient of a gradient)"):
        shaken = copy.deepcopy(D)
        shake_parameters(shaken)
        img = img.clone().requires_grad_()
        logits = call(shaken, img)
        (gradient,) = torch.autograd.grad(logits.sum(), img, create_graph=True)
        used = parameters_with_gradient(shaken, gradient)
    contract.require(bool(used), "a gradient penalty trains no parameter: gradients of gradients are all zero")


def _check_old_branch_unused(contract: Contract, network: nn.Module, run: Run, newer: int) -> None:
    shaken = copy.deepcopy(network)
    shake_parameters(shaken)
    fading = parameters_with_gradient(shaken, run(shaken, growth_state(newer, 0.0)))
    full = parameters_with_gradient(shaken, run(shaken, growth_state(newer, 1.0)))
    contract.require(
        bool(fading - full),
        f"at {newer} px with alpha=1 every parameter of the old branch still counts: the fade never ends",
    )


def _eval(network: nn.Module) -> nn.Module:
    """A copy in eval mode that computes no gradients; G_ema is made in the same way."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def _name(growth: GrowthState) -> str:
    return f"{growth.resolution} px, alpha={growth.alpha:g}"
