"""``import torchvision`` beside a torch that its compiled part does not fit.

Package indexes serve torchvision built for CUDA. Beside a CPU-only torch its operators cannot be loaded, and its Python
part then fails while registering shapes for operators that do not exist. Nothing that ganzoo uses calls them, so
declaring the two that are missing is enough.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []  # torch forgets the operators of a library that is garbage


def import_torchvision() -> ModuleType:
    """torchvision, with the remedy applied where it is needed. Raises ImportError if it is not installed."""
    if "torchvision" not in sys.modules and not operators_load():
        _declare_operators()
    return importlib.import_module("torchvision")


def operators_load() -> bool:
    """Whether torchvision's compiled operators fit the installed torch. Raises ImportError without torchvision."""
    import torch

    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed", name="torchvision")
    folder = Path(spec.origin).parent
    libraries = [path for pattern in ("_C*.so", "_C*.pyd", "_C*.dylib") for path in sorted(folder.glob(pattern))]
    try:
        for library in libraries:
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return bool(libraries)


def _declare_operators() -> None:
    import torch

    if _declared:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
