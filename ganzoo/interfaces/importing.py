"""Weights that other projects saved, and the importers that make generators of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor


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
