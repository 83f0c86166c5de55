"""What a data set holds, before anybody trains on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from ganzoo.data.ahead import available_cpus, map_ahead
from ganzoo.data.decode import mode_of
from ganzoo.data.fit import Fit
from ganzoo.data.images import image_grid
from ganzoo.data.sources.files import ImageFiles
from ganzoo.data.subset import spread
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset

_SHEET = (6, 12)  # rows, columns
_CELL = 96  # pixels
_CHANNELS = {1: "grey", 2: "grey + alpha", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Report:
    """What ``inspect_data`` found. widths, heights: (smallest, median, largest), in pixels.

    modes: Pillow's names of how files store their pixels (for other sources grey, RGB, ...) -> images. classes: name
    -> images, None without classes. label_size: length of label vectors, 0 if labels are classes or absent. bad: what
    is wrong with each image that cannot be used, the file's name first.
    """

    name: str
    num_images: int
    bad: list[str]
    widths: tuple[int, int, int]
    heights: tuple[int, int, int]
    num_square: int
    modes: dict[str, int]
    classes: dict[str, int] | None
    label_size: int
    advice: list[str]

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def inspect_data(dataset: Dataset, advance: Callable[[int], None] = lambda n: None) -> tuple[Report, list[int]]:
    """Decode every image; returns the report and the indices of the good ones. advance: called after each image.

    Raises DataError, naming the files, if not one image can be used.
    """
    bad: list[str] = []
    good: list[int] = []
    sizes: list[tuple[int, int]] = []
    modes: Counter[str] = Counter()
    for index, found in enumerate(
        map_ahead(lambda i: _look(dataset, i), range(len(dataset)), workers=available_cpus())
    ):
        if isinstance(found, DataError):
            bad.append(str(found))
        else:
            good.append(index)
            sizes.append(found[0])
            modes[found[1]] += 1
        advance(1)
    if not good:
        raise DataError("not one image can be used:\n" + "\n".join(f"  {message}" for message in bad))
    heights, widths = np.array(sizes).T
    report = Report(
        name=dataset.name,
        num_images=len(good),
        bad=bad,
        widths=_range(widths),
        heights=_range(heights),
        num_square=int((heights == widths).sum()),
        modes=dict(modes.most_common()),
        classes=_classes(dataset, good),
        label_size=dataset.labels.shape[1] if dataset.labels is not None and dataset.labels.ndim == 2 else 0,
        advice=_advice(dataset, heights, widths, modes, bad),
    )
    return report, good


def contact_sheet(dataset: Dataset, indices: list[int]) -> Image.Image:
    """Up to 72 of the images, spread evenly over ``indices``, whole, transparent ones over a checkerboard."""
    fit = Fit(128, channels=4, mode="pad")
    chosen = [indices[i] for i in spread(len(indices), _SHEET[0] * _SHEET[1]).tolist()]
    cells = np.stack([fit(dataset.image(index), dataset.filename(index)) for index in chosen])
    cols = min(_SHEET[1], len(cells))
    sheet = image_grid(cells, -(-len(cells) // cols), cols)
    return sheet.resize((sheet.width * _CELL // 128, sheet.height * _CELL // 128), Image.Resampling.LANCZOS)


def _look(dataset: Dataset, index: int) -> tuple[tuple[int, int], str] | DataError:
    try:
        image = dataset.image(index)
        if isinstance(dataset, ImageFiles):
            mode = mode_of(dataset.read(index))
        else:
            mode = _CHANNELS[image.shape[2] if image.ndim == 3 else 1]
        return (image.shape[0], image.shape[1]), mode
    except DataError as problem:
        return problem


def _range(values: np.ndarray) -> tuple[int, int, int]:
    return int(values.min()), int(np.median(values)), int(values.max())


def _classes(dataset: Dataset, good: list[int]) -> dict[str, int] | None:
    if dataset.labels is None or dataset.labels.ndim == 2:
        return None
    counts = np.bincount(dataset.labels[good], minlength=len(dataset.class_names or ()))
    names = dataset.class_names or [str(i) for i in range(len(counts))]
    return {name: int(n) for name, n in zip(names, counts, strict=False)}


def _advice(
    dataset: Dataset, heights: np.ndarray, widths: np.ndarray, modes: Counter[str], bad: list[str]
) -> list[str]:
    """What to write into a recipe."""
    # Nine of ten images should bring the pixels that training asks for.
    side = max(4, int(np.percentile(np.minimum(heights, widths), 10)))
    lines = [f"img_resolution: {1 << (side.bit_length() - 1)}"]
    stretch = float(np.median(np.maximum(heights, widths) / np.minimum(heights, widths)))
    if stretch > 1.5:
        lines.append(
            f"fit: pad    (half of the images are {stretch:.1f} times longer than wide; crop keeps the centre)"
        )
    elif (heights != widths).any():
        lines.append("fit: crop   (not all images are square)")
    transparent = sum(n for mode, n in modes.items() if mode in ("RGBA", "LA", "PA", "grey + alpha"))
    if transparent and transparent < sum(modes.values()):
        lines.append(f"img_channels: 3    ({transparent:,} images have transparency and the others do not)")
    if dataset.labels is not None:
        lines.append("labels: true    (to train with the classes)")
    if bad:
        lines.append(f"skip_bad: {len(bad)}    (or repair or remove the bad files)")
    return lines
