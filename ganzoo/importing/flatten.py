"""From what an unpickler made to a flat list: networks, with tensors by name, and settings. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ganzoo.importing.unpickler import Array, DamagedError, Persistent, RefusedError, Settings, TensorRef, TFNetwork

MAX_DEPTH = 100
MAX_NODES = 1_000_000
MAX_TEXT = 1_000
MAX_LIST = 64


@dataclass
class Network:
    """kind: torch (a state dict), torch-object (of torch_utils.persistence) or tf."""

    kind: str
    class_name: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, TensorRef] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """All but the tensors."""
        return {name: getattr(self, name) for name in ("kind", "class_name", "args", "attributes")}


class Flattener:
    """Walks over what a file holds, which may refer to itself or be huge, and keeps what is of use."""

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.values: dict[str, Any] = {}
        self.left_out: list[str] = []
        self._nodes = 0

    def visit(self, obj: Any, path: str = "", depth: int = 0) -> None:
        self._count(depth)
        if isinstance(obj, Persistent):
            self._persistent(obj, path, depth)
        elif isinstance(obj, TFNetwork):
            network = Network("tf", tensors={})
            self._tf(obj, "", network, depth)
            self.networks[path] = network
        elif isinstance(obj, Settings):
            self.visit(obj.state, path, depth + 1)
        elif isinstance(obj, dict):
            self._dict(obj, path, depth)
        elif isinstance(obj, list | tuple):
            items = plain(obj)
            if items is not None and path:
                self.values[path] = items
            else:
                for i, item in enumerate(obj):
                    self.visit(item, join(path, str(i)), depth + 1)
        elif is_scalar(obj) and path:
            self.values[path] = obj

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise DamagedError(f"it is nested more than {MAX_DEPTH} levels deep")
        if self._nodes > MAX_NODES:
            raise DamagedError(f"it has more than {MAX_NODES:,} parts")

    def _dict(self, obj: dict, path: str, depth: int) -> None:
        if "param_groups" in obj and "state" in obj:
            self.left_out.append(f"state of an optimiser ({path or 'the file'})")
            return
        tensors = {}
        for key, value in obj.items():
            self._count(depth)
            if not isinstance(key, str | int):
                continue
            found = as_tensor(value)
            if found is not None:
                tensors[str(key)] = found
            else:
                self.visit(value, join(path, str(key)), depth + 1)
        if tensors:
            self.networks[path] = Network("torch", tensors=tensors)

    def _persistent(self, obj: Persistent, path: str, depth: int) -> None:
        state = _state(obj)
        if "_parameters" not in state:
            self.visit({k: v for k, v in state.items() if isinstance(k, str)}, path, depth + 1)
            return
        args = as_json(state.get("_init_kwargs", {}))
        network = Network(
            "torch-object", class_name=str(obj.meta.get("class_name", ""))[:MAX_TEXT], args=args if args else {}
        )
        self._module(state, "", network, depth)
        self.networks[path] = network

    def _module(self, state: dict, prefix: str, network: Network, depth: int) -> None:
        self._count(depth)
        for group in ("_parameters", "_buffers"):
            for name, value in dict(state.get(group) or {}).items():
                self._count(depth)
                found = as_tensor(value)
                if found is not None:
                    network.tensors[f"{prefix}{name}"] = found
        for name, value in state.items():
            if isinstance(name, str) and not name.startswith("_") and (is_scalar(value) or plain(value) is not None):
                network.attributes[f"{prefix}{name}"] = value if is_scalar(value) else plain(value)
        for name, module in dict(state.get("_modules") or {}).items():
            if isinstance(module, Persistent):
                self._module(_state(module), f"{prefix}{name}.", network, depth + 1)
            elif module is not None:
                raise DamagedError(f"its module {prefix}{name} is none")

    def _tf(self, obj: TFNetwork, prefix: str, network: Network, depth: int) -> None:
        self._count(depth)
        state = obj.state
        if not isinstance(state, dict) or not isinstance(state.get("variables"), list):
            raise DamagedError("a TensorFlow network has no variables")
        if not prefix:
            network.class_name = str(state.get("build_func_name", ""))[:MAX_TEXT]
            network.args = as_json(state.get("static_kwargs", {})) or {}
        for entry in state["variables"]:
            self._count(depth)
            if not isinstance(entry, tuple | list) or len(entry) != 2:
                raise DamagedError("a TensorFlow network has a variable without a name")
            name, value = entry
            found = as_tensor(value)
            if found is not None:
                network.tensors[f"{prefix}{name}"] = found
            elif is_scalar(value):
                network.attributes[f"{prefix}{name}"] = value
        for name, component in dict(state.get("components") or {}).items():
            if not isinstance(component, TFNetwork):
                raise DamagedError(f"its component {name!r} is none")
            self._tf(component, f"{prefix}{name}/", network, depth + 1)


def join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def as_tensor(value: Any) -> TensorRef | None:
    if isinstance(value, Array):
        if not hasattr(value, "tensor"):
            raise DamagedError("an array without numbers")
        return value.tensor
    return value if isinstance(value, TensorRef) else None


def is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return value is None or isinstance(value, bool | float)


def plain(value: Any) -> list[Any] | None:
    """A short list of scalars, or None for anything else."""
    short = isinstance(value, list | tuple) and len(value) <= MAX_LIST
    return list(value) if short and all(map(is_scalar, value)) else None


def as_json(value: Any, depth: int = 0) -> Any:
    """Settings as JSON has them, without what it has not: dictionaries up to a few levels, short lists, scalars."""
    if isinstance(value, dict):
        if depth > 4 or len(value) > 1000:
            return None
        return {k: as_json(v, depth + 1) for k, v in value.items() if isinstance(k, str) and len(k) <= MAX_TEXT}
    if is_scalar(value):
        return value
    return plain(value)


def _state(obj: Persistent) -> dict[str, Any]:
    meta = obj.meta
    if meta.get("type") != "class":
        raise RefusedError(f"torch_utils.persistence of the type {str(meta.get('type'))[:80]}")
    state = meta.get("state")
    if not isinstance(state, dict):
        raise DamagedError("an object of torch_utils.persistence has no state")
    return state
