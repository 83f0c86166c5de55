"""Which layers' styles control what on the built-in faces, path lengths, and linear separability.

    python benchmarks/style_statistics.py runs/00000-stylegan_faces_cpu-faces --picture styles.png

The snapshot is of a generator with styles, trained on the dataset ``faces``. What a face is made of is known when it
is drawn, so a small network learns to read it back from pixels: minutes on one core. What it reads well on faces that
it has not seen is then read from generated ones (Karras et al. 2019, arXiv:1812.04948, sections 3.1, 4.1 and 4.2).
Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ganzoo
from ganzoo.data.images import uint8_to_float
from ganzoo.data.sources import CartoonFaces
from ganzoo.data.sources.faces import CHOICES, RANGES
from ganzoo.evaluation.small import IMG_RESOLUTION, SmallExtractor, SmallNetwork
from ganzoo.files import atomic
from ganzoo.generation import LoadedGenerator
from ganzoo_stylegan.mixing import mix

Readings = dict[str, Tensor]  # by attribute: probabilities [N, values] of a choice, or numbers [N], 0 to 1 in range
Read = Callable[[Tensor], Readings]
Distance = Callable[[Tensor, Tensor], Tensor]

# Of each choice, the values that make the attribute 'yes' where only yes and no will do; a number is 'yes' from the
# middle of its range on.
YES = {
    "hair_style": ("bob", "long", "curly"),  # hair beside the face
    "hair_colour": ("black", "brown", "auburn"),  # dark
    "skin": ("tan", "brown", "dark"),  # dark
    "background": ("peach", "lemon", "coral"),  # warm
    "shirt": ("red", "yellow", "white"),  # warm or white
    "eyes": ("brown",),
    "mouth": ("grin", "surprised"),  # open
    "glasses": ("round", "square"),
    "beard": ("full", "moustache"),
}
IGNORED = -1  # as a target: the face does not show it
_BATCH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshot", help="a snapshot, or a run folder for its newest one")
    parser.add_argument("--num", type=int, default=2000, help="pairs of faces whose styles are swapped")
    parser.add_argument("--paths", type=int, default=4000, help="steps of each kind of path")
    parser.add_argument(
        "--latents", type=int, default=10_000, help="for separability, before half of them are left out"
    )
    parser.add_argument("--faces", type=int, default=20_000, help="drawn faces to learn to read from")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--accuracy", type=float, default=0.9, help="choices read worse than this are left out")
    parser.add_argument("--r2", type=float, default=0.8, help="numbers read worse than this are left out")
    parser.add_argument("--picture", type=Path, help="where to draw the table of layers")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    generator = ganzoo.load_generator(args.snapshot)
    source = generator.recipe.data.source
    if source is None or source.name != "faces" or generator.img_channels != 3:
        parser.error(f"{generator.path}: was not trained on the built-in faces in RGB, the only ones known in detail")
    generator.style("no styles to swap").to(memory_format=torch.channels_last)  # faster, on CPUs too
    torch.manual_seed(args.seed)
    started = time.monotonic()

    resolution, mirror = generator.growth.resolution, generator.recipe.data.mirror
    print(f"{generator.path.name} of {generator.recipe.name}, {resolution} px, torch {torch.__version__}", flush=True)
    reader = Reader(resolution)
    train(reader, *draw_faces(resolution, args.faces, seed=args.seed + 1, mirror=mirror), epochs=args.epochs)
    held_out, targets = draw_faces(resolution, 2000, seed=args.seed + 2, mirror=mirror)
    skill = measure(reader, held_out, targets)
    limits = {name: args.accuracy if name in CHOICES else args.r2 for name in skill}
    used = [name for name, value in skill.items() if value >= limits[name]]
    read = only(reader, used)

    a, b = ws_of(generator, args.num), ws_of(generator, args.num)
    print_skill(skill, used, sureness(reader, held_out), sureness(reader, images_of(generator, a)))
    if not used:
        parser.error("nothing is read well enough: more --faces and --epochs, or lower --accuracy and --r2")
    groups = layer_groups(generator)
    table = swap_effects(generator, read, a, b, groups)
    print_effects(table, len(a))
    if args.picture is not None:
        draw_effects(table, args.picture)
    print_path_lengths(generator, args.paths)
    print_separability(generator, read, args.latents)
    print(f"\n{time.monotonic() - started:.0f} s")


# Reading faces.


def draw_faces(resolution: int, n: int, *, seed: int, mirror: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """uint8 [n, 3, R, R] and, by attribute, int64 [n] (IGNORED where it cannot be seen) or float32 [n], 0 to 1.

    mirror: every other face is mirrored, as training with data.mirror shows them.
    """
    faces = CartoonFaces(img_resolution=resolution, num_images=n, seed=seed)
    rows = [faces.attributes(i) for i in range(n)]
    targets: dict[str, Tensor] = {}
    for name, values in CHOICES.items():
        index = {value: i for i, value in enumerate(values)}
        targets[name] = torch.tensor([index[str(row[name])] for row in rows])
    for name, (low, high) in RANGES.items():
        targets[name] = torch.tensor([(float(row[name]) - low) / (high - low) for row in rows])
    hairless = torch.tensor([row["hair_style"] == "bald" and row["beard"] == "none" for row in rows])
    targets["hair_colour"] = targets["hair_colour"].masked_fill(hairless, IGNORED)
    images = torch.from_numpy(np.stack([faces.image(i) for i in range(n)])).permute(0, 3, 1, 2).contiguous()
    if mirror:
        images[::2] = images[::2].flip(3)
        for name in ("x", "gaze"):  # ranges are symmetric
            targets[name][::2] = 1 - targets[name][::2]
    return images, targets


class Reader(nn.Module):
    """Images [N, 3, R, R] in [-1, 1] to logits [N, values] for each choice, and [N] for each number, 0 to 1 in range.

    Four convolutions, then linear: where something is matters, so there is no mean over pixels.
    """

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.size = min(resolution, 64)
        layers: list[nn.Module] = []
        channels, size = 3, self.size
        for width in (32, 48, 64, 96):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            if size > 4:
                layers.append(nn.MaxPool2d(2))
                size //= 2
            channels = width
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size * size, 192), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(192, len(values)) for name, values in CHOICES.items()})
        self.numbers = nn.Linear(192, len(RANGES))

    def forward(self, x: Tensor) -> Readings:
        if x.shape[-1] != self.size:
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        x = self.trunk(x)
        numbers = self.numbers(x) / 4 + 0.5  # starts at the middle, within a range's width
        return {n: head(x) for n, head in self.heads.items()} | dict(zip(RANGES, numbers.unbind(1), strict=True))


def train(reader: Reader, images: Tensor, targets: Mapping[str, Tensor], *, epochs: int, batch: int = 100) -> None:
    optimizer = torch.optim.AdamW(reader.parameters(), weight_decay=0.01)
    steps = epochs * (len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    reader.train().to(memory_format=torch.channels_last)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images))[: len(images) // batch * batch].split(batch):
            x = worn(uint8_to_float(images[chosen])).contiguous(memory_format=torch.channels_last)
            loss = reading_loss(reader(x), {name: target[chosen] for name, target in targets.items()})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    reader.eval().requires_grad_(False)


def reading_loss(readings: Readings, targets: Mapping[str, Tensor]) -> Tensor:
    total = torch.zeros([])
    for name, target in targets.items():
        if name in CHOICES:
            total = total + F.cross_entropy(readings[name], target, ignore_index=IGNORED)
        else:
            total = total + 10 * F.mse_loss(readings[name], target)
    return total


def worn(x: Tensor) -> Tensor:
    """Images as a generator might make them: half of the batch a little soft, all of it noisy and off in brightness."""
    soft = F.avg_pool2d(F.pad(x, [1, 1, 1, 1], mode="replicate"), 3, stride=1)
    weight = torch.rand(len(x), 1, 1, 1) * (torch.rand(len(x), 1, 1, 1) < 0.5)
    x = x.lerp(soft, weight) + 0.05 * torch.randn(len(x), 3, 1, 1)
    return x + 0.1 * torch.rand(len(x), 1, 1, 1) * torch.randn_like(x)


@torch.no_grad()
def measure(reader: Reader, images: Tensor, targets: Mapping[str, Tensor]) -> dict[str, float]:
    """By attribute: accuracy of a choice, where it can be seen, or R^2 of a number."""
    found = joined(reader(uint8_to_float(chunk)) for chunk in images.split(_BATCH))
    skill = {}
    for name, target in targets.items():
        if name in CHOICES:
            seen = target != IGNORED
            skill[name] = float((found[name].argmax(1) == target)[seen].float().mean())
        else:
            skill[name] = float(1 - (found[name] - target).square().mean() / target.var(correction=0))
    return skill


def only(reader: Reader, names: Sequence[str]) -> Read:
    """A function that reads ``names``: choices as probabilities."""

    def read(images: Tensor) -> Readings:
        found = reader(images)
        return {name: found[name].softmax(1) if name in CHOICES else found[name] for name in names}

    return read


def joined(parts: Iterator[Readings]) -> Readings:
    found = list(parts)
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


@torch.no_grad()
def sureness(reader: Reader, images: Tensor) -> dict[str, float]:
    """By choice, the mean probability of the value read. images: uint8, or float as a generator makes them."""
    images = uint8_to_float(images) if images.dtype == torch.uint8 else images
    read = only(reader, list(CHOICES))
    return {name: float(p.amax(1).mean()) for name, p in joined(read(part) for part in images.split(_BATCH)).items()}


# Styles.


def latents(generator: LoadedGenerator, n: int) -> tuple[Tensor, Tensor | None]:
    """z [n, z_dim], and labels of random classes if there are any."""
    c = torch.eye(generator.c_dim)[torch.randint(generator.c_dim, [n])] if generator.c_dim > 0 else None
    return torch.randn(n, generator.z_dim), c


@torch.no_grad()
def ws_of(generator: LoadedGenerator, n: int) -> Tensor:
    """ws [n, all layers, w_dim] of random latents."""
    return generator.truncate(generator.mapping(*latents(generator, n)))


@torch.no_grad()
def images_of(generator: LoadedGenerator, ws: Tensor, *, noise: str = "const") -> Tensor:
    """Images of ws [N, all layers, w_dim], cut to [-1, 1] as they would be shown."""
    parts = [generator.synthesis(part, noise=noise).float().clamp(-1, 1) for part in ws.split(_BATCH)]  # type: ignore[arg-type]
    return torch.cat(parts)


def layer_groups(generator: LoadedGenerator) -> dict[str, list[int]]:
    """Every layer, then those of each resolution where the network tells them apart: name -> layers."""
    groups = {str(i): [i] for i in range(generator.num_ws)}
    resolution, first = 4, 0
    while resolution <= generator.growth.resolution:
        end = generator.style().num_ws_at(resolution)
        if 0 < end - first < generator.num_ws:
            groups[f"{resolution}x{resolution}"] = list(range(first, end))
        resolution, first = 2 * resolution, end
    return groups


def swap_effects(
    generator: LoadedGenerator, read: Read, a: Tensor, b: Tensor, groups: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, float]]:
    """How much of each attribute comes from b when faces a get a group's styles from faces b: 0 nothing, 1 everything.

    'noise' is how much of it other noise changes, with the styles of a. a, b [N, all layers, w_dim]. Returns
    attribute -> group -> share; not a number where all faces are alike.
    """

    def reading(ws: Tensor, noise: str = "const") -> Readings:
        parts = (images_of(generator, part, noise=noise) for part in ws.split(_BATCH))
        return joined(read(part) for part in parts)

    with torch.no_grad():
        ours, theirs = reading(a), reading(b)
        swapped = {group: reading(mix(a, b, layers)) for group, layers in groups.items()}
        other_noise = reading(a, "random")
    effects: dict[str, dict[str, float]] = {}
    for name in ours:
        seen = visible(name, ours) & visible(name, theirs)
        x, y = values(ours[name])[seen], values(theirs[name])[seen]
        effects[name] = {group: shares(values(found[name])[seen], x, y)[1] for group, found in swapped.items()}
        effects[name]["noise"] = 1 - shares(values(other_noise[name])[seen], x, y)[0]
    return effects


def values(reading: Tensor) -> Tensor:
    """[N, values]: 1 for the value that was read, and 0 for the others; of numbers, themselves as [N, 1]."""
    return F.one_hot(reading.argmax(1), reading.shape[1]).double() if reading.ndim == 2 else reading[:, None].double()


def shares(mixed: Tensor, a: Tensor, b: Tensor) -> tuple[float, float]:
    """The weights of a and b [N, K] in the mixture of the two that comes nearest to mixed, by least squares.

    A mean is left to each column. Unlike the share of pairs that now are as b, the weight of b is 0 if mixed depends
    on a and chance alone, however much chance there is.
    """
    mixed, a, b = (x - x.mean(0) for x in (mixed, a, b))
    aa, ab, bb, am, bm = (float((x * y).sum()) for x, y in ((a, a), (a, b), (b, b), (a, mixed), (b, mixed)))
    det = aa * bb - ab * ab
    if det <= 1e-9 * max(aa, bb) ** 2:
        return math.nan, math.nan
    return (bb * am - ab * bm) / det, (aa * bm - ab * am) / det


def visible(name: str, readings: Readings) -> Tensor:
    """bool [N]: whether an attribute shows. The colour of hair does not, on a head read as bald."""
    n = len(next(iter(readings.values())))
    if name != "hair_colour" or "hair_style" not in readings:
        return torch.ones(n, dtype=torch.bool)
    return readings["hair_style"].argmax(1) != list(CHOICES["hair_style"]).index("bald")


# Path length (section 4.1).


def path_lengths(
    generator: LoadedGenerator,
    distances: Mapping[str, Distance],
    n: int,
    *,
    space: str,
    ends: bool,
    epsilon: float = 1e-4,
) -> dict[str, tuple[float, float]]:
    """Mean of distance / epsilon^2 over a step of epsilon, and its standard error, by name of the distance.

    space: 'z', along the sphere, or 'w', straight. ends: steps start at a random latent; else anywhere between two.
    The lowest and the highest hundredth are left out.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in distances}
    with torch.no_grad():
        for start in range(0, n, _BATCH):
            size = min(_BATCH, n - start)
            (z0, c), (z1, _) = latents(generator, size), latents(generator, size)
            t = torch.randint(2, [size, 1]).double() if ends else torch.rand(size, 1).double()
            steps = (
                t,
                t + epsilon,
            )  # in float64, as what lies between; the networks' rounding costs parts in a thousand
            if space == "z":
                w = [generator.mapping(slerp(z0.double(), z1.double(), at).float(), c) for at in steps]
            else:
                w0, w1 = generator.mapping(z0, c).double(), generator.mapping(z1, c).double()
                w = [torch.lerp(w0, w1, at).float() for at in steps]
            before, after = generator.synthesis(torch.cat(w)).double().chunk(2)
            for name, distance in distances.items():
                found[name].append(distance(before, after) / epsilon**2)
    return {name: trimmed_mean(torch.cat(values)) for name, values in found.items()}


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """a, b [N, D], t [N, 1] -> [N, D] on the sphere of radius sqrt(D), at constant speed from a to b."""
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    angle = t * torch.arccos((a * b).sum(1, keepdim=True).clamp(-1, 1))
    across = F.normalize(b - (a * b).sum(1, keepdim=True) * a, dim=1)
    return math.sqrt(a.shape[1]) * (angle.cos() * a + angle.sin() * across)


def trimmed_mean(values: Tensor) -> tuple[float, float]:
    """Mean without the lowest and the highest hundredth, and its standard error (Tukey and McLaughlin 1963)."""
    low, high = (
        torch.quantile(values, 0.01, interpolation="lower"),
        torch.quantile(values, 0.99, interpolation="higher"),
    )
    kept = values[(values >= low) & (values <= high)]
    return float(kept.mean()), float(values.clamp(low, high).std() / (0.98 * math.sqrt(len(values))))


def pixel_distance(before: Tensor, after: Tensor) -> Tensor:
    """[N, C, R, R] twice -> [N]: mean squared difference, in [-1, 1]."""
    return (before - after).square().mean((1, 2, 3))


def feature_distance() -> Distance:
    """That of LPIPS (Zhang et al. 2018), with the three convolutions of ganzoo's small classifier in place of VGG16's.

    Features of each pixel are scaled to length 1, squared differences averaged over pixels and added up over layers.
    There are no learned weights of layers.
    """
    network: SmallNetwork = SmallExtractor().network.double()

    def features(x: Tensor) -> Iterator[Tensor]:
        if x.shape[-1] != IMG_RESOLUTION:
            x = F.interpolate(x, (IMG_RESOLUTION, IMG_RESOLUTION), mode="bilinear", antialias=True)
        for i, block in enumerate(network.blocks):
            x = block(F.max_pool2d(x, 2) if i else x)
            yield F.normalize(x, dim=1, eps=1e-8)

    def distance(before: Tensor, after: Tensor) -> Tensor:
        both = zip(features(before), features(after), strict=True)
        return sum(((x - y).square().sum(1).mean((1, 2)) for x, y in both), start=before.new_zeros(len(before)))

    return distance


# Linear separability (section 4.2).


def yes(name: str, reading: Tensor) -> Tensor:
    """How clearly an attribute is 'yes': [N], from -1 for no to 1."""
    if name in CHOICES:
        chosen = [list(CHOICES[name]).index(value) for value in YES[name]]
        return 2 * reading[:, chosen].sum(1) - 1
    return (2 * reading - 1).clamp(-1, 1)


def conditional_entropy(x: Tensor, y: Tensor) -> float:
    """H(Y|X) in nats of bool [N] twice: what remains to be known of y when x is known."""
    joint = torch.stack([(x == i) & (y == j) for i in (False, True) for j in (False, True)]).double().mean(1)
    p = joint.reshape(2, 2)
    return float((p * (p.sum(1, keepdim=True) / p).log()).nan_to_num(nan=0.0).sum())


def linear_svm(x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """Fit a linear SVM (squared hinge, C 1) to x [N, D] and y bool [N]; the function tells yes from no for others."""
    mean, std = x.mean(0), x.std(0).clamp_min(1e-8)
    sign = y.to(x.dtype) * 2 - 1
    plane = torch.zeros(x.shape[1] + 1, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([plane], max_iter=200, line_search_fn="strong_wolfe")

    def side(points: Tensor) -> Tensor:
        return (points - mean) / std @ plane[:-1] + plane[-1]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = plane[:-1].square().sum() / 2 + (1 - sign * side(x)).clamp_min(0).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return lambda points: side(points).detach() > 0


def separability(points: Tensor, clear: Tensor) -> float:
    """H(Y|X) in nats: Y whether an attribute is there, X what a plane through the latents says.

    points [N, D]: z or w. clear [N]: ``yes`` of their images. The half that is least clear is left out; the plane is
    fitted to every other of the rest, and judged by the others.
    """
    kept = clear.abs().argsort(descending=True)[: len(clear) // 2].sort().values
    points, labels = points[kept].double(), clear[kept] > 0
    plane = linear_svm(points[::2], labels[::2])
    return conditional_entropy(plane(points[1::2]), labels[1::2])


# Tables.


def print_skill(
    skill: Mapping[str, float], used: Sequence[str], real: Mapping[str, float], fake: Mapping[str, float]
) -> None:
    print(
        "\n## How well faces are read\n\n| attribute | of a held-out face | used | sure of drawn | sure of generated |"
    )
    print("|---|---|---|---|---|")
    for name, value in skill.items():
        how = f"{value:.1%} right" if name in CHOICES else f"R² {value:.3f}"
        sure = f"{real[name]:.1%} | {fake[name]:.1%}" if name in CHOICES else " | "
        print(f"| {name} | {how} | {'yes' if name in used else 'no'} | {sure} |")


def print_effects(table: Mapping[str, Mapping[str, float]], pairs: int) -> None:
    groups = list(next(iter(table.values())))
    print(f"\n## Which layers control what\n\nPer cent that come from the other parent, of {pairs} pairs.\n")
    print("| attribute | " + " | ".join(groups) + " |\n|---|" + "---|" * len(groups))
    for name in by_layer(table):
        print(f"| {name} | " + " | ".join(percent(value) for value in table[name].values()) + " |", flush=True)


def percent(share: float) -> str:
    return "" if math.isnan(share) else str(round(100 * share))


def by_layer(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Attributes, from those that the first layers control to those of the last: by the mean layer.

    Layers weigh as the squares of what they control, so that many that control next to nothing do not count.
    """

    def mean_layer(name: str) -> float:
        weights = {int(group): value**2 for group, value in table[name].items() if group.isdigit() and value > 0}
        return sum(layer * weight for layer, weight in weights.items()) / max(sum(weights.values()), 1e-8)

    return sorted(table, key=mean_layer)


def draw_effects(table: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """The table as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, groups = by_layer(table), list(next(iter(table.values())))
    cells = np.array([[100 * table[name][group] for group in groups] for name in names])
    figure = Figure(figsize=(1.6 + 0.55 * len(groups), 1.2 + 0.36 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    brightest = max(10, 10 * math.ceil(np.nanmax(cells) / 10))
    picture = axes.imshow(cells, cmap="viridis", vmin=0, vmax=brightest, aspect="auto")
    axes.set_xticks(range(len(groups)), groups)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xlabel("styles from the other parent: of one layer, of one resolution; noise: what other noise changes")
    for (row, column), value in np.ndenumerate(cells):
        axes.text(
            column,
            row,
            percent(value / 100),
            ha="center",
            va="center",
            fontsize=7,
            color="wk"[int(value > 0.6 * brightest)],
        )
    for edge in (sum(group.isdigit() for group in groups), len(groups) - 1):
        axes.axvline(edge - 0.5, color="white", linewidth=3)
    figure.colorbar(picture, label="per cent from the other parent")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def print_path_lengths(generator: LoadedGenerator, n: int) -> None:
    distances = {"small features": feature_distance(), "pixels": pixel_distance}
    print(f"\n## Path length\n\n{n} steps each.\n\n| distance | z, full | z, end | w, full | w, end |")
    print("|---|---|---|---|---|")
    kinds = [(space, ends) for space in ("z", "w") for ends in (False, True)]
    found = [path_lengths(generator, distances, n, space=space, ends=ends) for space, ends in kinds]
    for name in distances:
        cells = [f"{mean:.3g} ± {error:.1g}" for mean, error in (lengths[name] for lengths in found)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


@torch.no_grad()
def print_separability(generator: LoadedGenerator, read: Read, n: int) -> None:
    z, c = latents(generator, n)
    w = torch.cat([generator.mapping(*part) for part in _parts(z, c)])
    readings = joined(read(images_of(generator, generator.truncate(part))) for part in w.split(_BATCH))
    print("\n## Linear separability\n\n| attribute | yes | H(Y) | H(Y given X), z | H(Y given X), w |")
    print("|---|---|---|---|---|")
    totals = [0.0, 0.0, 0.0]
    for name, reading in readings.items():
        seen = visible(name, readings)
        clear = yes(name, reading)[seen]
        sure = clear[clear.abs().argsort(descending=True)[: len(clear) // 2]] > 0
        with torch.enable_grad():
            row = [conditional_entropy(torch.zeros_like(sure), sure), *(separability(x[seen], clear) for x in (z, w))]
        totals = [total + value for total, value in zip(totals, row, strict=True)]
        print(f"| {name} | {sure.float().mean():.0%} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    print("| **exp of the sum** | | " + " | ".join(f"{math.exp(total):.2f}" for total in totals) + " |", flush=True)


def _parts(z: Tensor, c: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    for start in range(0, len(z), _BATCH):
        part = slice(start, start + _BATCH)
        yield z[part], None if c is None else c[part]


if __name__ == "__main__":
    main()
