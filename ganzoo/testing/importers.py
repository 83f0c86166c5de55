"""The check of importers of other projects' weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganzoo.interfaces import ForeignNetwork, ForeignWeights, ImportedModel, Importer
from ganzoo.testing.contract import Contract


def check_importer(
    cls: type[Importer], *, args: Mapping[str, Any] | None = None, weights: ForeignWeights | None = None
) -> None:
    """Check that an Importer knows what is not its own; with ``weights`` of its kind, also that it converts them.

    Raises AssertionError, saying what is wrong.
    """
    contract = Contract(cls, Importer)
    importer = contract.construct(args)
    title = getattr(cls, "title", None)
    contract.require(isinstance(title, str) and bool(title), "title must say whose weights it imports")
    contract.require(isinstance(cls.files, int) and cls.files >= 1, "files must be how many files it takes")
    strangers = {
        "no networks": ForeignWeights(networks={}),
        "an empty network": ForeignWeights(networks={"": ForeignNetwork("torch", {})}),
        "a network of another kind": ForeignWeights(networks={"": ForeignNetwork("torch", {"a.b": torch.zeros(1)})}),
    }
    for what, stranger in strangers.items():
        with contract.attempt(f"recognises() of {what}"):
            contract.require(importer.recognises(stranger) is False, f"recognises() must be False for {what}")
    if weights is not None:
        _check_converts(contract, importer, weights)


def _check_converts(contract: Contract, importer: Importer, weights: ForeignWeights) -> None:
    before = {(n, k): x.clone() for n, network in weights.networks.items() for k, x in network.tensors.items()}
    with contract.attempt("recognises()"):
        contract.require(importer.recognises(weights) is True, "recognises() must be True for weights of its kind")
    with contract.attempt("model()"):
        model = importer.model(weights)
    contract.require(isinstance(model, ImportedModel), "model() must return an ImportedModel")
    strange = [name for name in model.networks if name not in weights.networks]
    contract.require(bool(model.networks) and not strange, f"model().networks {strange} are not in the file")
    for section in ("generator", "discriminator", "loss", "growth"):
        contract.require(section in model.recipe, f"model().recipe misses the section {section}")
    with contract.attempt("generator_state()"):
        state = importer.generator_state(weights)
    contract.require(
        bool(state) and all(isinstance(x, Tensor) for x in state.values()), "generator_state() must return tensors"
    )
    for (name, key), x in before.items():
        unchanged = torch.equal(weights.networks[name].tensors[key], x)
        contract.require(unchanged, f"generator_state() changes {key} of what it is given")
