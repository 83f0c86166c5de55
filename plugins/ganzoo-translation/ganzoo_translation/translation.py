"""What ``ganzoo translate`` is made of: reading images, bringing them to size, translating them, showing pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import ganzoo
from ganzoo.build import build_degradation
from ganzoo.console import echo
from ganzoo.data.decode import decode
from ganzoo.data.fit import Fit, to_8bit, to_channels
from ganzoo.data.images import float_to_uint8, image_grid, uint8_to_float
from ganzoo.data.opening import open_dataset
from ganzoo.data.sources import FolderDataset
from ganzoo.data.sources.files import ImageFiles, read_file
from ganzoo.errors import DataError, GanzooError
from ganzoo.generation import LoadedGenerator, labels_for_seeds
from ganzoo.plugins import load_plugins

_MODES = {1: "grey", 3: "RGB", 4: "RGBA"}


class Inputs:
    """Images to translate, by name: those of a folder, a zip or a pack, or of one file.

    Iterating gives names and images as stored, uint8 or uint16 [H, W] or [H, W, C]. Raises DataError if there are none.
    """

    def __init__(self, path: Path, folder: str | None = None) -> None:
        """folder: take only the images below this folder of ``path``."""
        self.path = path
        self._single = path.is_file() and path.suffix.lower() != ".zip"
        if self._single:
            if folder is not None:
                raise DataError(f"{path}: is one file and has no folder {folder!r}; leave --folder out")
            self.names = [path.name]
            return
        self._dataset = open_dataset(str(path), lambda line: echo(line, err=True))
        if folder is not None:
            if not isinstance(self._dataset, ImageFiles):
                raise DataError(f"{path}: is a pack and has no folder {folder!r}; leave --folder out")
            self._dataset = self._dataset.below(folder.replace("\\", "/").strip("/"))
        if isinstance(self._dataset, ImageFiles):
            self.names = list(self._dataset.names)
        else:
            self.names = [f"img{i:08d}" for i in range(len(self._dataset))]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        for index, name in enumerate(self.names):
            yield name, self._read(index)

    def _read(self, index: int) -> np.ndarray:
        if not self._single:
            return self._dataset.image(index)
        return decode(read_file(self.path), str(self.path))

    @staticmethod
    def stem(name: str) -> str:
        """Of the file that the image ``name`` becomes."""
        return PurePosixPath(name).stem

    def check_names(self, outdir: Path) -> None:
        """Raise DataError if two images would become one file, or one would replace an input."""
        seen: dict[str, str] = {}
        for name in self.names:
            stem = self.stem(name)
            key = stem.casefold()  # file systems of macOS and Windows make no difference
            if key in seen:
                folders = _folders(self.names)
                way_out = f"translate one folder at a time: --folder {folders[0]}" if folders else "rename one of them"
                raise DataError(f"{self.path}: {seen[key]} and {name} would both become {stem}.png; {way_out}")
            seen[key] = name
        if self._single:
            origins = {self.path.resolve()}
        elif isinstance(self._dataset, FolderDataset):
            origins = {(self._dataset.path / name).resolve() for name in self.names}
        else:
            origins = set()
        for name in self.names:
            target = outdir / f"{self.stem(name)}.png"
            if target.exists() and target.resolve() in origins:
                raise DataError(
                    f"{target}: is one of the images to translate, and would be replaced; use another --outdir"
                )


class Translation:
    """From an image as stored to the one that G sees, and what G makes of it; each on its own, the same every time."""

    def __init__(
        self,
        generator: LoadedGenerator,
        *,
        direction: str = "a2b",
        degrade: bool = False,
        keep_size: bool = False,
        chosen: str | int | None = None,
        seed: int = 0,
    ) -> None:
        """Raises GanzooError, saying what would work, if G cannot do that."""
        G = generator.G
        if not isinstance(G, ganzoo.Translator):
            raise GanzooError(
                f"{generator.path}: {generator.recipe.generator.name!r} makes images of latents and translates none: "
                "use `ganzoo sample`"
            )
        if direction not in G.directions:
            raise GanzooError(f"{generator.path}: has no direction {direction!r}, but {' and '.join(G.directions)}")
        self.generator, self.G, self.direction, self.keep_size = generator, G, direction, keep_size
        channels = G.in_channels if direction == "a2b" else G.img_channels
        self._degradation: ganzoo.Degradation | None = None
        if degrade:
            channels = self._load_degradation(direction)
        if channels not in _MODES:
            raise GanzooError(
                f"{generator.path}: translates images of {channels} channels, which no file has: give --degrade, which "
                "makes them as in training"
            )
        data = generator.recipe.data
        self._fit = Fit(generator.growth.resolution, channels, data.fit, data.filter, data.background)
        self._c = labels_for_seeds(generator, [0], chosen)
        if self._c is not None and chosen is None:
            raise GanzooError(f"{generator.path}: was trained with labels: say with --class which to translate to")
        self._random = torch.Generator().manual_seed(seed)

    @property
    def degradation_name(self) -> str:
        """That of the recipe."""
        inputs = self.generator.recipe.data.inputs
        return inputs.degrade.name if inputs is not None and inputs.degrade is not None else "none"

    def _load_degradation(self, direction: str) -> int:
        """Set it up; returns the channels of the images that it takes."""
        generator = self.generator
        registry = load_plugins().registry
        self._degradation, _ = build_degradation(generator.recipe, registry, img_channels=generator.img_channels)
        if self._degradation is None:
            inputs = generator.recipe.data.inputs
            raise GanzooError(
                f"{generator.path}: was not trained to undo a degradation (data.inputs.kind is "
                f"{inputs.kind if inputs else 'missing'}); leave --degrade out"
            )
        if direction != "a2b":
            raise GanzooError("--degrade makes images of domain a: it goes with --direction a2b only")
        return generator.img_channels

    @torch.no_grad()
    def __call__(self, image: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """uint8 or uint16 [H, W, ...] -> what G was given and what it made of that, uint8 [C, H, W] each."""
        if self.keep_size:
            pixels = to_channels(to_8bit(image, name), self._fit.channels, self._fit.colour)
            fitted = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        else:
            fitted = self._fit(image, name)
        source = uint8_to_float(torch.from_numpy(fitted.copy()).to(self.generator.device)[None])
        if self._degradation is not None:
            # Each image has chances of its own, so that they do not depend on which others there are.
            with torch.random.fork_rng():
                torch.manual_seed(int(torch.randint(2**62, (1,), generator=self._random)))
                source = self._degradation.to(source.device)(source)
        height, width = source.shape[2:]
        made = self.generator.translate(self._padded(source), self.direction, self._c)[:, :, :height, :width]
        given = float_to_uint8(source[0]).cpu().numpy()
        return _shown(given, self._fit.channels), float_to_uint8(made[0].float()).cpu().numpy()

    def _padded(self, source: Tensor) -> Tensor:
        """Reflected at the right and at the bottom up to a size that G takes."""
        least = min(self.generator.img_resolution, 2 * self.G.size_multiple)
        for dim in (2, 3):
            n = source.shape[dim]
            wanted = max(-(-n // self.G.size_multiple) * self.G.size_multiple, least)
            period = [*range(n), *range(n - 2, 0, -1)]  # there and back again, as often as it takes
            index = torch.tensor([period[i % len(period)] for i in range(wanted)], device=source.device)
            source = source.index_select(dim, index) if wanted > n else source
        return source


def overview(pairs: Sequence[tuple[np.ndarray, np.ndarray]], cell: int) -> Image.Image:
    """uint8 [C, H, W] each, of any sizes -> a picture with up to four pairs a row, in cells of ``cell`` px or more."""
    cell = max(cell, 96)
    cells = np.stack([_in_cell(image, cell) for pair in pairs for image in pair])
    cols = min(4, len(pairs))
    return image_grid(cells, -(-len(pairs) // cols), 2 * cols)


def _in_cell(image: np.ndarray, cell: int) -> np.ndarray:
    """uint8 [C, H, W] -> RGB [3, cell, cell], enlarged by a whole factor or made smaller, on white."""
    height, width = image.shape[1:]
    picture = image_grid(image[None], 1, 1)
    factor = cell / max(height, width)
    if factor >= 1:
        size, how = (width * int(factor), height * int(factor)), Image.Resampling.NEAREST
    else:
        size, how = (max(1, round(width * factor)), max(1, round(height * factor))), Image.Resampling.LANCZOS
    canvas = Image.new("RGB", (cell, cell), "white")
    canvas.paste(picture.convert("RGB").resize(size, how), ((cell - size[0]) // 2, (cell - size[1]) // 2))
    return np.moveaxis(np.asarray(canvas), -1, 0)


def _shown(given: np.ndarray, channels: int) -> np.ndarray:
    """Without the channels that a degradation added."""
    return given[:channels] if len(given) > channels else given


def _folders(names: Sequence[str]) -> list[str]:
    """Folders that hold images, in order."""
    return sorted({str(PurePosixPath(name).parent) for name in names} - {"."})
