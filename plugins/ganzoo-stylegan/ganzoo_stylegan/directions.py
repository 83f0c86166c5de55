"""Directions in w that change images most, found in the weights alone, and what they do to an image.

Closed-form factorisation (Shen & Zhou 2021, arXiv:2007.06600): a step n in w changes the styles of a layer by A n,
where A is the matrix of the layer's affine function of w. The unit vectors n with the largest |A n| are the
eigenvectors of A'A with the largest eigenvalues. Of several layers, the matrices are stacked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ganzoo.errors import GanzooError
from ganzoo.generation import LoadedGenerator
from ganzoo.weights import read_metadata, save_weights

from .projection import read_tensors, w_samples

DIRECTION_FORMAT = "ganzoo-direction-1"


@dataclass(frozen=True)
class Direction:
    """A step in w. vector [w_dim], or [L, w_dim] by layer. layers: which it is meant for, None = all.

    eigenvalue: |A n|^2 of the unit vector n along it, None if it was not found by factorisation.
    """

    vector: Tensor
    layers: list[int] | None = None
    eigenvalue: float | None = None

    def apply(self, ws: Tensor, strength: float) -> Tensor:
        """ws [N, L, w_dim] moved by ``strength`` steps in its layers."""
        chosen = list(self.layers or range(ws.shape[1]))
        moved = ws.clone()
        steps = self.vector.to(ws)
        moved[:, chosen] += strength * (steps if steps.ndim == 1 else steps[chosen])
        return moved


@torch.no_grad()
def style_weights(generator: LoadedGenerator, layers: Sequence[int]) -> Tensor:
    """The matrices [out, w_dim] that turn the w of ``layers`` into styles, stacked: [sum of out, w_dim].

    They are found by running the network with a different w for each layer: the modules that are given exactly that w,
    and are affine functions of it, are the layer's. The matrix is what they make of unit vectors, so it does not matter
    how they store their weights, and networks of other plugins are as good. Raises GanzooError if there are none.
    """
    G = generator.style()
    random = torch.Generator().manual_seed(0)
    ws = torch.randn(1, G.num_ws, G.w_dim, generator=random).to(generator.device)
    wanted = set(layers)
    seen: list[nn.Module] = []

    def look(module: nn.Module, args: tuple) -> None:
        x = args[0] if args else None
        if isinstance(x, Tensor) and x.shape == (1, G.w_dim) and any(torch.equal(x, ws[:, i]) for i in wanted):
            seen.append(module)

    handles = [module.register_forward_pre_hook(look) for module in G.modules() if module is not G]
    try:
        generator.synthesis(ws)
    finally:
        for handle in handles:
            handle.remove()
    matrices: dict[nn.Module, Tensor] = {}
    for module in dict.fromkeys(seen):  # a module is seen before those inside it
        if not any(module in outer.modules() for outer in matrices):
            matrix = _matrix_of(module, G.w_dim, generator.device)
            if matrix is not None:
                matrices[module] = matrix
    if not matrices:
        raise GanzooError(
            f"{generator.path}: {generator.recipe.generator.name!r} has no modules that compute styles of these layers "
            "from w by an affine function, so there is nothing to factorise"
        )
    return torch.cat(list(matrices.values()))


def find_directions(generator: LoadedGenerator, layers: Sequence[int], num: int | None = None) -> list[Direction]:
    """The ``num`` directions that change the styles of ``layers`` most, the strongest first.

    num: None for ten, or for as many as there are that change anything.
    Their length is one standard deviation of w along them: a step of 3 stays within what the network was trained with.
    Raises GanzooError if w has fewer dimensions, or as ``style_weights``.
    """
    w_dim = generator.style().w_dim
    wanted = min(10, w_dim) if num is None else num
    if wanted > w_dim:
        raise GanzooError(f"{num} directions: w has {w_dim} dimensions here, so there are at most {w_dim}")
    A = style_weights(generator, layers).double().cpu()
    samples = w_samples(generator).double()
    if not (A.isfinite().all() and samples.isfinite().all()):
        raise GanzooError(f"{generator.path}: is broken: it has weights that are no finite numbers")
    eigenvalues, vectors = torch.linalg.eigh(A.T @ A)  # ascending, vectors in columns
    directions = []
    for k in range(w_dim - 1, w_dim - 1 - wanted, -1):
        if num is None and directions and not eigenvalues[k] > 1e-9 * eigenvalues[-1]:  # from here on it is rounding
            break
        n = vectors[:, k]
        n = n * n[n.abs().argmax()].sign()  # an eigenvector's sign is arbitrary: always the same one
        directions.append(Direction(n, list(layers), float(eigenvalues[k])))
    spread = (samples @ torch.stack([d.vector for d in directions], dim=1)).std(dim=0)
    return [replace(d, vector=(d.vector * std).float()) for d, std in zip(directions, spread, strict=True)]


def save_direction(path: Path, direction: Direction) -> None:
    """Write it as safetensors. Raises CheckpointError if that fails."""
    metadata = {
        "format": DIRECTION_FORMAT,
        "layers": json.dumps(direction.layers),
        "eigenvalue": json.dumps(direction.eigenvalue),
    }
    save_weights(path, {"direction": direction.vector}, metadata)


def load_direction(path: Path, generator: LoadedGenerator, *, layers: Sequence[int] | None = None) -> Direction:
    """A direction for this network: of ``save_direction``, or any safetensors file with a tensor 'direction'.

    layers: what to move, in place of what the file says. Raises GanzooError if it is of another size, or cannot be
    read.
    """
    vector = read_tensors(path, "direction", "ganzoo directions makes such files")["direction"].float()
    G = generator.style()
    if vector.shape not in ((G.w_dim,), (G.num_ws, G.w_dim)) or not bool(vector.isfinite().all()):
        raise GanzooError(
            f"{path}: 'direction' has the shape {list(vector.shape)}; for {generator.path} it is [{G.w_dim}], or "
            f"[{G.num_ws}, {G.w_dim}] for each layer its own, all finite: is it a direction of another network?"
        )
    if layers is not None:
        return Direction(vector, list(layers))
    text = read_metadata(path).get("layers", "null")
    try:
        own = json.loads(text)
    except (ValueError, RecursionError):
        own = text
    if own is not None and not (isinstance(own, list) and own and all(_is_layer(i, G.num_ws) for i in own)):
        said = text if len(text) <= 80 else f"{text[:80]}..."
        raise GanzooError(
            f"{path}: is for the layers {said}, and {generator.path} has those from 0 to {G.num_ws - 1}; say with "
            "--layers which to move"
        )
    return Direction(vector, own)


def _is_layer(value: object, num_ws: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < num_ws


def _matrix_of(module: nn.Module, w_dim: int, device: torch.device) -> Tensor | None:
    """[out, w_dim] of an affine function; None if it is something else."""
    try:
        at_zero = module(torch.zeros(1, w_dim, device=device))
        if at_zero.ndim != 2:  # maps of features, which for all unit vectors at once would be gigabytes
            return None
        at_units = module(torch.eye(w_dim, device=device))
        w = torch.randn(4, w_dim, generator=torch.Generator().manual_seed(1)).to(device)
        found = module(w)
        matrix = (at_units - at_zero).mT
        if (
            matrix.ndim == 2
            and found.shape == (4, matrix.shape[0])
            and torch.allclose(found, w @ matrix.T + at_zero, rtol=1e-3, atol=1e-4, equal_nan=True)
        ):
            return matrix
    except (TypeError, RuntimeError, ValueError, AttributeError):  # wants more than w, or returns no matrix
        pass
    return None
