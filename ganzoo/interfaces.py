"""The contracts. A plugin implements these classes; the loop and the tools know nothing else.

Constructors are keyword-only, annotated, and take no ``**kwargs``: the signature is the recipe's schema. The names
``img_resolution``, ``img_channels``, ``c_dim`` and ``world_size`` are never written in a recipe's ``args``: core passes
them, taken from the data and the process group, to every constructor that declares them. So it does with
``in_channels`` (channels of the images to translate, 0 without) for players, and with ``paired`` (whether each of those
belongs to the real image beside it) for losses and regularizers. A constructor refuses a combination that the
annotations cannot express with a ``ValueError`` that says what would work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

Noise = Literal["random", "const", "none"]


@dataclass(frozen=True)
class GrowthState:
    """Where training stands.

    resolution: current image size in pixels. alpha: weight of the NEWEST block, 0 -> 1; 1 outside a fade.
    In ProGAN's terms ``lod = log2(img_resolution / resolution) + (1 - alpha)``.
    batch_size: real images a step, over all processes. g_lr, d_lr: learning rates.
    """

    resolution: int
    alpha: float
    batch_size: int
    g_lr: float
    d_lr: float


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one resolution and one batch size, for tables: ``fading`` while alpha < 1.

    g_lr, d_lr: where it starts; decaying: they fall from there.
    """

    start_nimg: int
    end_nimg: int
    resolution: int
    fading: bool
    batch_size: int
    g_lr: float
    d_lr: float
    decaying: bool = False


@dataclass(frozen=True)
class Batch:
    """What a loss sees of one step, or of a part of it (``train.accumulate``); all tensors are on the training device.

    real [N, C, R, R] in [-1, 1], R = growth.resolution, already passed through ``GrowthSchedule.process_reals``.
    c [N, c_dim]: labels of the real images, or None. z [N, z_dim]: latents, standard normal; for a Translator the
    images to translate, [N, in_channels, R, R] in [-1, 1]. Where data are paired, z[i] belongs to real[i].
    gen_c [N, c_dim]: labels to generate with, drawn from the label distribution of the data (paired: those of the real
    images), or None.
    """

    real: Tensor
    c: Tensor | None
    z: Tensor
    gen_c: Tensor | None
    growth: GrowthState


class Generator(nn.Module, ABC):
    """Latents to images."""

    def __init__(self, *, z_dim: int, c_dim: int, img_resolution: int, img_channels: int) -> None:
        """z_dim: size of the latent. c_dim: size of the label, 0 = unconditional. img_resolution: final size."""
        super().__init__()
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels

    @abstractmethod
    def forward(self, z: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, R, R], nominally in [-1, 1].

        R = growth.resolution. Values may leave the range (ProGAN's last layer is linear); whoever shows them clips.
        """

    def check_resolution(self, resolution: int) -> None:
        """Raise ValueError, saying what would work, if there are no images of that size to be had.

        Core asks for every phase of the growth schedule before training starts.
        """


class Translator(Generator):
    """A generator whose latent is an image: pix2pix, CycleGAN and their kin. z_dim is 0.

    Recipes that train one have a section ``data.inputs``, and ``Batch.z`` holds images of it, so that every loss that
    calls ``G(batch.z, batch.gen_c, growth=...)`` works. Images of domain a become images of b, the data's real ones.

    in_channels: of the images to translate. directions: what ``translate`` can do, "a2b" first. size_multiple:
    ``forward`` accepts heights and widths that are multiples of it; a network that is fully convolutional can translate
    images of other sizes than it was trained on.
    """

    directions: ClassVar[Sequence[str]] = ("a2b",)
    size_multiple: int = 1

    def __init__(self, *, in_channels: int, c_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__(z_dim=0, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.in_channels = in_channels

    @abstractmethod
    def forward(self, source: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """source [N, in_channels, R, R] in [-1, 1], c [N, c_dim] or None -> images [N, img_channels, R, R].

        R = growth.resolution. Nominally in [-1, 1], as for any generator.
        """

    def translate(
        self, source: Tensor, c: Tensor | None = None, *, direction: str = "a2b", growth: GrowthState
    ) -> Tensor:
        """``forward``; a network that translates both ways overrides this and ``directions``.

        b2a: source [N, img_channels, R, R] -> [N, in_channels, R, R]. Raises ValueError for other directions.
        """
        if direction != "a2b":
            raise ValueError(f"no direction {direction!r}; there is: {', '.join(self.directions)}")
        return self(source, c, growth=growth)


class StyleGenerator(Generator):
    """A generator with an intermediate latent space: z -> w, and one w for each layer -> image (StyleGAN and its kin).

    ``forward`` is ``synthesis(broadcast(mapping(z, c)), growth=growth)``: in eval mode with the stored noise, in
    training mode with new noise and whatever a network does to styles in between (mixing, following the mean of w).
    Truncation, mixing, projection and path length regularisation work with any subclass.

    w_dim: size of w. num_ws: how many layers take a w of their own, at the final resolution. w_avg [w_dim]: a buffer,
    the running mean of w.
    """

    w_avg: Tensor

    def __init__(
        self, *, z_dim: int, w_dim: int, num_ws: int, c_dim: int, img_resolution: int, img_channels: int
    ) -> None:
        super().__init__(z_dim=z_dim, c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
        self.w_dim = w_dim
        self.num_ws = num_ws
        self.register_buffer("w_avg", torch.zeros(w_dim))

    @abstractmethod
    def mapping(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z [N, z_dim], c [N, c_dim] or None -> w [N, w_dim], without truncation. Changes no buffer."""

    @abstractmethod
    def synthesis(self, ws: Tensor, *, growth: GrowthState, noise: Noise = "random") -> Tensor:
        """ws [N, num_ws, w_dim] -> images [N, img_channels, R, R], R = growth.resolution; layers beyond R are not used.

        noise: 'random' draws anew, 'const' takes the stored maps, 'none' leaves it out; without effect where a network
        has none.
        """

    def num_ws_at(self, resolution: int) -> int:
        """How many of the ws matter at ``resolution``: all of them, where a network does not grow."""
        return self.num_ws

    def broadcast(self, w: Tensor) -> Tensor:
        """w [N, w_dim] -> ws [N, num_ws, w_dim]: the same for every layer."""
        return w.unsqueeze(1).repeat(1, self.num_ws, 1)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Draw the first ``cutoff`` of ws [N, num_ws, w_dim] (None = all) towards the mean: psi 1 changes nothing.

        The truncation trick in w (Karras et al. 2019, section 3 and appendix B).
        """
        cutoff = self.num_ws if cutoff is None else cutoff
        return torch.cat([self.w_avg.lerp(ws[:, :cutoff], psi), ws[:, cutoff:]], dim=1)


class Discriminator(nn.Module, ABC):
    """Images to logits. aux_dim: number of class logits behind the first column (AC-GAN), 0 = none.

    sees_source: whether it judges an image together with the one that it was translated from (pix2pix): it is then
    called with ``source=batch.z``, [N, in_channels, R, R], and only by losses and regularizers that pass it.
    has_features: whether there is more to be had than logits, see ``features``.
    """

    aux_dim: int = 0
    sees_source: bool = False
    has_features: bool = False

    def __init__(self, *, c_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__()
        self.c_dim = c_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels

    @abstractmethod
    def forward(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """img [N, img_channels, R, R], c [N, c_dim] or None -> logits [N, 1 + aux_dim] or [N, 1, h, w], no sigmoid."""

    def score_both(
        self,
        fake: Tensor,
        real: Tensor,
        fake_c: Tensor | None = None,
        real_c: Tensor | None = None,
        *,
        growth: GrowthState,
    ) -> tuple[Tensor, Tensor]:
        """Logits of N generated and of N real images: those of two calls, which is what it does.

        A D whose images do not depend on each other, or that keeps the two apart, may do both in one pass instead,
        which is quicker. A loss asks for it if it wants no more than the logits.
        """
        return self(fake, fake_c, growth=growth), self(real, real_c, growth=growth)

    def features(self, img: Tensor, c: Tensor | None = None, *, growth: GrowthState) -> Tensor:
        """What the last layer makes logits of, for images and labels as in ``forward``: float32 [N, F].

        Differentiable, and there only if ``has_features``: who asks for it checks that first. Raises ValueError else.
        """
        raise ValueError(f"{type(self).__name__} has no features to give: its has_features is false")

    def check_resolution(self, resolution: int) -> None:
        """As ``Generator.check_resolution``."""

    def check_batch_size(self, n: int) -> None:
        """Raise ValueError, saying what would work, if ``forward`` refuses n images: a batch over all processes, or
        with ``train.accumulate`` the micro-batches that it is cut into (``system.whole_batch: false``: the share of one
        process).

        Core asks for every phase before training starts: such a mistake must not end a run after days.
        """


class Loss(ABC):
    """Named terms of the two players' losses. Never calls backward, never steps, never logs.

    Each term is [N] (or [N, 1]) or a scalar; the loop takes the mean of each, adds them up, differentiates, and logs
    each by name. ``G`` and ``D`` are the modules; pass ``growth=batch.growth`` to both.

    passes_source: whether it calls a D that ``sees_source`` with ``source=batch.z``; core refuses such a D without.
    """

    passes_source: bool = False

    @abstractmethod
    def d_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        """Terms to minimise for D. Only D's parameters are updated: run G under ``torch.no_grad()``."""

    @abstractmethod
    def g_loss(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        """Terms to minimise for G. D's parameters do not require gradients here."""

    def check(self, G: Generator, D: Discriminator) -> None:  # noqa: B027 (optional)
        """Raise ValueError, saying what would work, if this loss makes no sense with these networks.

        Called when a recipe is checked, with networks on the ``meta`` device.
        """


class Regularizer(ABC):
    """An extra term for one of the players, in every step or lazily, in every ``every``-th one.

    player: 'D' or 'G', whose parameters the term moves. every: 1 adds it to the player's loss; k > 1 gives it an
    optimiser step of its own after every k-th step of the player, k times as strong, and core makes up for the
    additional steps in Adam's learning rate and betas (Karras et al. 2020, section 3.1 and appendix B). An nn.Module
    may keep running statistics in buffers, which are saved. passes_source: as for a ``Loss``; True as well if D is
    never called.
    """

    player: Literal["D", "G"]
    every: int = 1
    passes_source: bool = False

    @abstractmethod
    def terms(self, G: Generator, D: Discriminator, batch: Batch) -> dict[str, Tensor]:
        """Named terms, each [N] (or [N, 1]) or a scalar, as those of a ``Loss``; never multiplied by ``every``.

        None at all, {}, where everything is done by ``after_step``; then ``every`` is 1.
        """

    def after_step(self, player: nn.Module) -> None:  # noqa: B027 (optional)
        """Called after every optimiser step of its player, also those of lazy regularizers, without gradients.

        It may change parameters in place, and must be deterministic: every process changes its own.
        """

    def check(self, G: Generator, D: Discriminator) -> None:  # noqa: B027 (optional)
        """As ``Loss.check``."""


class Augmentation(nn.Module, ABC):
    """What D sees in place of images, real and generated alike, so that it cannot learn the real ones by heart.

    Works with every loss: the D that a loss gets augments what it is given. A buffer that adapts (ADA's p) is saved.
    """

    @abstractmethod
    def forward(self, img: Tensor) -> Tensor:
        """img [N, C, R, R] in [-1, 1] -> the same shape. Differentiable, twice; random numbers come from torch."""

    adapts_every: int = 0  # steps of D between two calls of ``adapt``; 0: never

    def adapt(self, real_logits: Tensor, nimg: int) -> None:
        """Adjust to how sure D is of (augmented) real images: its logits [N], over ``nimg`` images shown since."""

    def check(self, G: Generator, D: Discriminator) -> None:
        """As ``Loss.check``."""


class Degradation(nn.Module, ABC):
    """What a translator learns to undo: real images -> the images to translate (``data.inputs``, kind ``degrade``).

    Neither learns nor remembers: no parameters, and buffers are constants.
    """

    @abstractmethod
    def forward(self, img: Tensor) -> Tensor:
        """img [N, C, R, R] in [-1, 1] -> [N, C', R, R] in [-1, 1]; C' = ``out_channels(C)``.

        R may be any power of two. Random numbers come from torch, so that resuming is exact. No gradient is taken.
        """

    def out_channels(self, img_channels: int) -> int:
        """Channels of what ``forward`` makes of images with ``img_channels``; ValueError if it cannot take those."""
        return img_channels


class GrowthSchedule(ABC):
    """A pure function of the number of real images shown: no state, so nothing to save, and resuming is exact."""

    @abstractmethod
    def at(self, nimg: int) -> GrowthState:
        """The state for the step that starts after ``nimg`` real images."""

    def process_reals(self, real: Tensor, growth: GrowthState) -> Tensor:
        """real [N, C, R, R] in [-1, 1] -> what D sees instead, same shape. The default changes nothing."""
        return real

    def phases(self, total_nimg: int) -> list[Phase]:
        """The table of phases up to ``total_nimg``, found by asking ``at`` here and there and closing in on changes."""

        def kind(nimg: int) -> tuple[int, bool, int, float, float]:
            s = self.at(nimg)
            return s.resolution, s.alpha < 1, s.batch_size, s.g_lr, s.d_lr

        phases: list[Phase] = []
        # Small enough to step over no phase; for a run without end, large enough to come to an end here.
        stride = max(min(max(total_nimg // 1000, 1), 1000), total_nimg // 100_000)
        start = 0
        while start < total_nimg:
            low, high = start, min(start + stride, total_nimg)
            while high < total_nimg and kind(high) == kind(start):
                low, high = high, min(high + stride, total_nimg)
            while high - low > 1:  # the phase ends in (low, high]
                middle = (low + high) // 2
                low, high = (middle, high) if kind(middle) == kind(start) else (low, middle)
            phases.append(Phase(start, high, *kind(start)))
            start = high
        return phases


class Dataset(ABC):
    """A source of images, with random access. Decoding and fitting to size are core's work.

    name: short, for the run folder. fingerprint: hex string that changes whenever an image or a label does.
    labels: None, or int64 [N] class indices, or float32 [N, c_dim] vectors. class_names: by class index, or None.
    shards: sizes of consecutive stretches of images that lie close together, or None. If given, images are read as
    training goes and never packed, in an order that shuffles stretches, and images within a few of them.
    """

    name: str
    fingerprint: str
    labels: np.ndarray | None = None
    class_names: Sequence[str] | None = None
    shards: Sequence[int] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def filename(self, index: int) -> str:
        """What an error message should call image ``index``."""

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Image ``index`` as stored: uint8 or uint16, [H, W], [H, W, 1], [H, W, 2], [H, W, 3] or [H, W, 4].

        Channels are grey, grey + alpha, RGB, RGB + (straight) alpha. Raises DataError, naming the file, if broken.
        """


class ImageSet(Protocol):
    """Images to evaluate, all of one size, with random access."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """uint8 [n, C, R, R]; C is 1 or 3."""
        ...


class Extractor(ABC):
    """Images to feature vectors, for metrics that compare sets of images by them.

    Constructors may declare ``weights`` (path of a file, or None), ``device`` and ``allow_download``: core passes them.
    layers: names of the features on offer. weights_hash: SHA-256 (hex) of the weights, 'none' if there are none.
    resize: how images are brought to the size of the network, in words, for the record.
    """

    layers: Sequence[str]
    weights_hash: str
    resize: str

    @abstractmethod
    def layer_for(self, metric: str) -> str:
        """The layer that ``metric`` uses unless told otherwise."""

    @abstractmethod
    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """images uint8 [N, 3, R, R], on any device -> float32 [N, D] for each of ``layers``, on the CPU."""


class Metric(ABC):
    """One number, or a few, that tell how good a set of images is.

    needs: what ``compute`` gets: 'features' (float32 [N, D] of an Extractor's layer), 'images' (an ImageSet) or
    'generator' (a callable generator, see ganzoo.load_generator). compares: whether real images are wanted too.
    results: name of each number -> whether lower is better; the first is the one to go by. min_samples: fewer images
    give no meaningful number. max_samples: more are not used (None = no limit).
    """

    needs: Literal["features", "images", "generator"] = "features"
    compares: bool = True
    results: ClassVar[Mapping[str, bool]]
    min_samples: int = 2
    max_samples: int | None = None

    @abstractmethod
    def compute(self, fake: Any, real: Any | None) -> dict[str, float]:
        """The numbers of ``results``, or those of them that exist for images of this size (SWD has one a scale).

        The same sets give the same numbers. real: None unless ``compares``.
        """

    def standard_errors(self, fake: Any, real: Any | None) -> dict[str, float | None] | None:
        """Of the numbers that ``compute`` gives for the same sets; None for one that is not known.

        By default None as a whole: core computes the numbers of five disjoint fifths, and takes their spread.
        """
        return None

    def settings_for(self, num_fake: int, num_real: int) -> dict[str, Any]:
        """For sets of these sizes: what values depend on beside the constructor's arguments, for the record."""
        return {}


@dataclass(frozen=True)
class ForeignNetwork:
    """One network in a file that another project wrote.

    kind: 'torch' for a state dict, 'torch-object' for an object of NVIDIA's torch_utils.persistence, 'tf' for one of
    dnnlib.tflib. tensors: by the names that they have there (components of a 'tf' network as component/name), on the
    CPU, floating point as float32. class_name, args: what an object was made with. attributes: its numbers and words,
    by module. All but the tensors may be anything, or missing.
    """

    kind: str
    tensors: Mapping[str, Tensor]
    class_name: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ForeignWeights:
    """What files of another project hold, as numbers and names.

    networks: by the name under which the file has them, '' where it is nothing else, '0', '1' in a list or for several
    files; deeper ones as outer/inner. values: settings beside the networks, named alike. left_out: passed over.
    """

    networks: Mapping[str, ForeignNetwork]
    values: Mapping[str, Any] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    def first(self, *names: str) -> tuple[str, ForeignNetwork] | None:
        """The network whose name, or the last part of it, is the first of ``names`` that there is; and its name."""
        for wanted in names:
            for name, network in self.networks.items():
                if name == wanted or name.rpartition("/")[2] == wanted:
                    return name, network
        return None


@dataclass(frozen=True)
class ImportedModel:
    """What an Importer found in a file.

    networks: names of those in the file that it takes; others are said to be left out. recipe: the sections
    ``generator``, ``discriminator``, ``loss`` and ``growth``, and others but ``data`` and ``train``; for a Translator,
    ``data.inputs`` as ``inputs``. Sizes: see ``Generator``; in_channels of the images to translate. resolution (None:
    img_resolution), alpha: where growing stood. notes: sentences on what differs from the original, or is left out.
    """

    networks: Sequence[str]
    recipe: Mapping[str, Any]
    img_resolution: int
    img_channels: int
    c_dim: int = 0
    in_channels: int = 0
    resolution: int | None = None
    alpha: float = 1.0
    notes: Sequence[str] = ()


class Importer(ABC):
    """Another project's weights to a generator of ours, for ``ganzoo import``. Nothing of theirs is run.

    title: project and network, for lists. files: how many files it takes. The constructor's arguments are what a file
    does not say, for ``--set``. Methods get what ``recognises`` said yes to, and raise ValueError, saying what would
    work, for a variant that our network cannot be.
    """

    title: ClassVar[str]
    files: ClassVar[int] = 1

    @abstractmethod
    def recognises(self, weights: ForeignWeights) -> bool:
        """Whether these are weights of that project's network: by names of tensors, and nothing slower."""

    @abstractmethod
    def model(self, weights: ForeignWeights) -> ImportedModel:
        """The recipe and sizes, inferred from names and shapes."""

    @abstractmethod
    def generator_state(self, weights: ForeignWeights) -> dict[str, Tensor]:
        """The state of the recipe's generator, complete."""


__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "Degradation",
    "Discriminator",
    "Extractor",
    "ForeignNetwork",
    "ForeignWeights",
    "Generator",
    "GrowthSchedule",
    "GrowthState",
    "ImageSet",
    "ImportedModel",
    "Importer",
    "Loss",
    "Metric",
    "Phase",
    "Regularizer",
    "StyleGenerator",
    "Translator",
]
