"""The checks of ``ganzoo doctor``. None of them changes anything, and none uses the network."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata as distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ganzoo.data.cache import cache_root, format_bytes
from ganzoo.errors import GanzooError

_LITTLE_SPACE = 5 * 10**9  # bytes: a pack, features and a run's checkpoints want a few gigabytes


@dataclass(frozen=True)
class Finding:
    """One line of the report. text: what is so, and what to do unless the state is ok."""

    state: Literal["ok", "warning", "problem"]
    subject: str
    text: str


def examine() -> Iterator[Finding]:
    """Every check, in order."""
    yield Finding("ok", "python", sys.version.split()[0])
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("problem", "torch", f"cannot be imported: {error}; install it as pytorch.org says")
        return
    yield Finding("ok", "torch", torch.__version__)
    yield _gpu()
    yield from _evaluation()
    yield from _plugins()
    yield from _disk()
    yield _video()


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("ok", "GPU", ", ".join(names))
    if torch.backends.mps.is_available():
        return Finding("ok", "GPU", "Apple's, through mps")
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        return Finding(
            "warning",
            "GPU",
            "there is an NVIDIA driver, but this torch has no CUDA; see pytorch.org",
        )
    return Finding("warning", "GPU", "none that torch can use; training and evaluation run on the CPU, which is slow")


def _evaluation() -> Iterator[Finding]:
    from ganzoo.evaluation.torchvision_remedy import import_torchvision, operators_load

    if find_spec("torch_fidelity") is None:
        yield Finding("warning", "torch-fidelity", "not installed, so no FID: pip install 'ganzoo[eval]'")
        return
    try:
        fits = operators_load()
        version = import_torchvision().__version__
    except (ImportError, RuntimeError) as error:
        yield Finding(
            "problem", "torchvision", f"cannot be imported: {error}; install the version that goes with your torch"
        )
        return
    note = "" if fits else "; its compiled operators do not fit this torch, which ganzoo works around and does not need"
    yield Finding("ok", "torchvision", version + note)
    try:
        import torch_fidelity  # noqa: F401
    except (ImportError, RuntimeError) as error:
        yield Finding("problem", "torch-fidelity", f"cannot be imported: {error}; try: pip install -U 'ganzoo[eval]'")
        return
    yield _torch_fidelity_version()
    yield from _weights()


def _torch_fidelity_version() -> Finding:
    found = distributions.version("torch-fidelity")
    if tuple(int(part) for part in found.split(".")[:2]) < (0, 4):
        return Finding(
            "problem",
            "torch-fidelity",
            f"{found} has precision and recall the wrong way round: pip install -U 'torch-fidelity>=0.4'",
        )
    return Finding("ok", "torch-fidelity", found)


def _weights() -> Iterator[Finding]:
    from ganzoo.evaluation.fidelity import INCEPTION_WEIGHTS, LPIPS_WEIGHTS, VGG16_WEIGHTS, read_tensors, sha256

    uses = {
        INCEPTION_WEIGHTS: "FID, KID and Inception score",
        VGG16_WEIGHTS: "the extractor vgg16 and PPL",
        LPIPS_WEIGHTS: "PPL",
    }
    for file, use in uses.items():
        subject = f"weights for {use}"
        if not file.path.is_file():
            todo = f"get {file.url} ({file.size}) and put it there, or use `ganzoo eval --allow-download` once"
            yield Finding("warning", subject, f"{file.path} is not there; {todo}")
            continue
        try:
            read_tensors(file.path)
        except GanzooError as error:
            yield Finding("problem", subject, f"{error}; delete it and get {file.url} ({file.size}) again")
            continue
        if not sha256(file.path).startswith(file.sha256):
            yield Finding("problem", subject, f"{file.path} is not what was published; get {file.url} again")
        else:
            yield Finding("ok", subject, str(file.path))


def _plugins() -> Iterator[Finding]:
    from ganzoo.plugins import load_plugins

    try:
        loaded = load_plugins()
    except GanzooError as error:
        yield Finding("problem", "plugins", str(error))
        return
    for plugin in loaded.plugins:
        if plugin.name != "core":
            yield Finding("ok", "plugin", str(plugin.owner))
    for failure in loaded.failures:
        yield Finding("problem", "plugin", f"{failure}; repair, update or uninstall it")


def _disk() -> Iterator[Finding]:
    for subject, folder in (("disk, this folder", Path.cwd()), ("disk, cache", cache_root())):
        there = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
        free = shutil.disk_usage(there).free
        if free < _LITTLE_SPACE:
            todo = "; free some, or set GANZOO_CACHE to another disk" if subject == "disk, cache" else "; free some"
            yield Finding("warning", subject, f"{format_bytes(free)} free at {folder}{todo}")
        else:
            yield Finding("ok", subject, f"{format_bytes(free)} free at {folder}")


def _video() -> Finding:
    if find_spec("imageio") is None or find_spec("imageio_ffmpeg") is None:
        return Finding("warning", "video", "no .mp4 (GIFs work): pip install 'ganzoo[video]'")
    return Finding("ok", "video", "mp4 and gif")
