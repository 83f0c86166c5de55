"""Using a trained generator: load a snapshot, make images, walk between latents."""

from ganzoo.generation.inputs import labels_for_seeds, parse_seeds, seeds_to_latents
from ganzoo.generation.load import LoadedGenerator, load_generator
from ganzoo.generation.sample import sample
from ganzoo.generation.video import write_video
from ganzoo.generation.walk import slerp, walk

__all__ = [
    "LoadedGenerator",
    "labels_for_seeds",
    "load_generator",
    "parse_seeds",
    "sample",
    "seeds_to_latents",
    "slerp",
    "walk",
    "write_video",
]
