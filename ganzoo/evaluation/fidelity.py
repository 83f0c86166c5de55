"""The feature extractors of torch-fidelity, with weights that come from files and are never unpickled blindly.

torch-fidelity downloads weights while constructing a network, loads them with ``weights_only=False``, ignores unknown
arguments in silence, and computes on CUDA unless told otherwise. All of that is dealt with here.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.interfaces import Extractor

_CLIP = {  # name -> (file of OpenAI's release, its SHA-256, size)
    "clip-rn50": ("RN50", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", "244 MiB"),
    "clip-rn101": ("RN101", "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599", "278 MiB"),
    "clip-rn50x4": ("RN50x4", "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd", "402 MiB"),
    "clip-rn50x16": ("RN50x16", "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa", "630 MiB"),
    "clip-rn50x64": ("RN50x64", "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c", "1.3 GiB"),
    "clip-vit-b-32": ("ViT-B-32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", "338 MiB"),
    "clip-vit-b-16": ("ViT-B-16", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", "335 MiB"),
    "clip-vit-l-14": ("ViT-L-14", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", "890 MiB"),
    "clip-vit-l-14-336px": (
        "ViT-L-14-336px",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        "891 MiB",
    ),
}
_DINOV2 = {"s": "84 MiB", "b": "330 MiB", "l": "1.1 GiB", "g": "4.2 GiB"}


@dataclass(frozen=True)
class WeightsFile:
    """A published file of weights. sha256: of its contents, or the first digits of it that are known; may be empty."""

    name: str
    url: str
    size: str
    sha256: str = ""

    @property
    def path(self) -> Path:
        """Where it is looked for: torch's own folder of downloaded weights."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.name

    def find(self, *, allow_download: bool) -> Path:
        """The file, downloaded if need be and allowed. Raises CheckpointError that says how to get it."""
        if self.path.is_file():
            return self.path
        if not allow_download:
            raise CheckpointError(
                f"{self.path}: no such file, and nothing is downloaded unasked. `ganzoo eval ... --allow-download` "
                f"fetches it; or get {self.url} ({self.size}) on a machine with network and put it there"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(self.path), hash_prefix=self.sha256 or None)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.url}: cannot be downloaded: {error}. Put it at {self.path} by hand"
            ) from error
        return self.path


INCEPTION_WEIGHTS = WeightsFile(
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "91 MiB",
    "6726825d",
)
VGG16_WEIGHTS = WeightsFile(
    "vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth", "528 MiB", "397923af"
)
LPIPS_WEIGHTS = WeightsFile(
    "weights-vgg16-lpips.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-vgg16-lpips.pth",
    "8 kB",
)


def torch_fidelity() -> ModuleType:
    """The package, imported so that it works beside any build of torchvision. Raises GanzooError without it."""
    from ganzoo.evaluation.torchvision_remedy import import_torchvision

    try:
        import_torchvision()
        import torch_fidelity as package
    except ImportError as error:
        raise GanzooError(f"{error}. This needs an optional dependency: pip install 'ganzoo[eval]'") from error
    return package


class FidelityExtractor(Extractor):
    """A network of torch-fidelity: the same features as its own command gives, from the same file of weights."""

    name: str
    file: WeightsFile

    def __init__(self, *, weights: str | None = None, device: str = "cpu", allow_download: bool = False) -> None:
        """weights: a file, None = where torch keeps downloads.

        Raises CheckpointError if it is missing, holds anything but tensors, or those of another network.
        """
        torch_fidelity()
        path = self._find(weights, allow_download)
        self._check(path)
        self.weights_hash = sha256(path)
        self.network = self._build(path).to(device)
        self.device = torch.device(device)
        if self.device.type == "cpu":  # convolutions of Inception are half as fast again in this layout
            self.network.to(memory_format=torch.channels_last)
        self.layers: Sequence[str] = self.network.get_provided_features_list()

    def layer_for(self, metric: str) -> str:
        try:
            return self.network.get_default_feature_layer_for_metric(metric)
        except KeyError:  # a plugin's metric
            return self.network.get_default_feature_layer_for_metric("fid")

    @torch.no_grad()
    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        self.network.features_list = list(layers)  # the network stops at the last of these
        found = self.network(images.to(self.device))
        return {layer: feature.cpu() for layer, feature in zip(layers, found, strict=True)}

    def _find(self, weights: str | None, allow_download: bool) -> Path:
        if weights is None:
            return self.file.find(allow_download=allow_download)
        if not Path(weights).is_file():
            raise CheckpointError(f"{weights}: no such file of weights; {self.name} is {self.file.url}")
        return Path(weights)

    def _check(self, path: Path) -> None:
        read_tensors(path)

    def _build(self, path: Path) -> Any:
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        cls = FEATURE_EXTRACTORS_REGISTRY[self.name]
        layers = list(cls.get_provided_features_list())
        try:
            network = cls(self.name, layers, feature_extractor_weights_path=str(path), verbose=False)
        except (
            RuntimeError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:
            raise CheckpointError(
                f"{path}: holds weights of another network than {self.name} ({_first_line(error)}); "
                f"right is {self.file.url}"
            ) from error
        return network.eval().requires_grad_(False)


class InceptionV3(FidelityExtractor):
    """The Inception of the original FID (TensorFlow, 2015-12-05), as everybody quotes it; layers 64 to logits."""

    name = "inception-v3-compat"
    file = INCEPTION_WEIGHTS
    resize = "bilinear as in TensorFlow 1 to 299 x 299 (torch-fidelity)"


class VGG16(FidelityExtractor):
    """torchvision's VGG16; improved precision and recall (Kynkäänniemi et al. 2019) are usually measured with it."""

    name = "vgg16"
    file = VGG16_WEIGHTS
    resize = "bilinear as in TensorFlow 1 to 224 x 224 (torch-fidelity)"


class CLIP(FidelityExtractor):
    """OpenAI's CLIP. Its files are TorchScript, so only the published ones, told by their SHA-256, are opened."""

    resize = "bilinear as in TensorFlow 1 to the network's own size (torch-fidelity)"

    def _check(self, path: Path) -> None:
        if sha256(path) != self.file.sha256:
            raise CheckpointError(
                f"{path}: is not the file that OpenAI published for {self.name} (its SHA-256 differs); "
                f"right is {self.file.url}"
            )


class DINOv2(FidelityExtractor):
    """Meta's DINOv2. torch.hub fetches its code as well as its weights, so it needs --allow-download every time."""

    resize = "bilinear as in TensorFlow 1 to 224 x 224 (torch-fidelity)"

    def _find(self, weights: str | None, allow_download: bool) -> Path:
        if weights is not None or not allow_download:
            raise GanzooError(
                f"{self.name}: torch.hub fetches both code and weights of this network from the internet "
                f"({self.file.url}, {self.file.size}); add --allow-download and no --weights"
            )
        return self.file.find(allow_download=True)

    def _build(self, path: Path) -> Any:
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        network = FEATURE_EXTRACTORS_REGISTRY[self.name](self.name, ["dinov2"], verbose=False)
        return network.eval().requires_grad_(False)


def extractor_classes() -> dict[str, type[FidelityExtractor]]:
    """Every extractor of torch-fidelity by its name there; torch-fidelity itself is not imported."""
    classes: dict[str, type[FidelityExtractor]] = {cls.name: cls for cls in (InceptionV3, VGG16)}
    for name, (release, digest, size) in _CLIP.items():
        url = f"https://openaipublic.azureedge.net/clip/models/{digest}/{release}.pt"
        file = WeightsFile(f"{name}-{digest}.pt", url, size, digest)
        classes[name] = type(f"CLIP {release}", (CLIP,), {"name": name, "file": file, "__doc__": CLIP.__doc__})
    for letter, size in _DINOV2.items():
        name, weights = f"dinov2-vit-{letter}-14", f"dinov2_vit{letter}14_pretrain.pth"
        url = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{letter}14/{weights}"
        members = {"name": name, "file": WeightsFile(weights, url, size), "__doc__": DINOv2.__doc__}
        classes[name] = type(f"DINOv2 {letter}", (DINOv2,), members)
    return classes


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth file. Raises CheckpointError for anything else, which is never executed."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, because it holds more than tensors, or is no file of torch: loading it could run code"
        ) from error
    except Exception as error:  # of damaged files, torch's reader raises nearly anything
        raise CheckpointError(f"{path}: damaged, or no file of weights: {_first_line(error)}") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CheckpointError(f"{path}: holds no table of named tensors, so it is no file of weights")
    return tensors


def sha256(path: Path) -> str:
    """SHA-256 of a file's contents, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
