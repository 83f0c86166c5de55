"""A file of weights that torch-fidelity's Inception loads, drawn at random: for machines without the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganzoo.evaluation.fidelity import torch_fidelity


def make_random_inception(path: Path, *, seed: int = 0) -> Path:
    """He initialisation, so that activations keep their size through all layers. Writes ``path``, about 91 MiB."""
    torch_fidelity()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, *args: Any, **kwargs: Any) -> None:
            """The constructor insists on a file; its contents are not wanted."""

    torch.manual_seed(seed)
    torch.save({}, path)
    network = Untrained("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), path)
    return path
