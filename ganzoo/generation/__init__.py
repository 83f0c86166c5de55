"""Using a trained generator: load a snapshot, make images, walk between latents."""

from ganzoo.generation.export import export_dataset
from ganzoo.generation.inputs import labels_for_seeds, latents_of_every_class, parse_seeds, seeds_to_latents
from ganzoo.generation.load import LoadedGenerator, load_generator
from ganzoo.generation.pictures import check_grid, opaque, save_grid
from ganzoo.generation.sample import sample, sample_w
from ganzoo.generation.statistics import standing_statistics
from ganzoo.generation.video import write_video
from ganzoo.generation.walk import slerp, walk, walk_w

__all__ = [
    "LoadedGenerator",
    "check_grid",
    "export_dataset",
    "labels_for_seeds",
    "latents_of_every_class",
    "load_generator",
    "opaque",
    "parse_seeds",
    "sample",
    "sample_w",
    "save_grid",
    "seeds_to_latents",
    "slerp",
    "standing_statistics",
    "walk",
    "walk_w",
    "write_video",
]
