"""An unpickler that constructs nothing but numbers, containers and inert records. Standard library only.

A pickle is a program: it names functions and classes, and calls them. Here, the names that files of weights need stand
for parts of this module, each of which only keeps what it is given. Any other name is refused, before anything is done
with it. So nothing that a file brings along is imported, compiled or called, NVIDIA's embedded source included.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

MAX_DIMENSIONS = 16

# As torch names its storages, and as this package calls their elements; bytes of each.
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
ITEM_SIZE = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
# numpy's letters and sizes.
ARRAYS = {
    "f8": "float64",
    "f4": "float32",
    "f2": "float16",
    "i8": "int64",
    "i4": "int32",
    "i2": "int16",
    "i1": "int8",
    "u1": "uint8",
    "b1": "bool",
}
_SCALARS = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "u8": "Q", "u4": "I"}
_SCALARS |= {"u2": "H", "u1": "B", "b1": "?"}


class RefusedError(Exception):
    """A file asks for something that no file of weights needs; the text is the name of it."""


class DamagedError(Exception):
    """A file is not what it seems to be; the text says where."""


@dataclass(frozen=True)
class Storage:
    """Numbers of one type, and where they are: in ``data`` from byte ``start`` on, or in the file's record ``key``."""

    dtype: str
    numel: int
    data: bytes | None = None
    start: int = 0
    key: str | None = None

    @property
    def nbytes(self) -> int:
        return self.numel * ITEM_SIZE[self.dtype]


@dataclass(frozen=True)
class TensorRef:
    """A view of a storage, checked to lie within it and not to be larger than it."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Dict(dict):
    """In place of OrderedDict and dictionaries like it; attributes, such as torch's ``_metadata``, are left out."""

    def __setstate__(self, state: Any) -> None:
        pass


class Record:
    """In place of an object: what it was constructed with, and its state. Does nothing with either."""

    name = ""
    args: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        record = super().__new__(cls)
        record.args = args
        return record

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Persistent(Record):
    """Of NVIDIA's torch_utils.persistence: a class's source, which is not looked at, and the state of an instance."""

    @property
    def meta(self) -> dict[str, Any]:
        if not (self.args and isinstance(self.args[0], dict)):
            raise DamagedError("an object of torch_utils.persistence has no description")
        return self.args[0]


class TFNetwork(Record):
    """Of NVIDIA's dnnlib.tflib or tfutil: the source of a network, which is not looked at, and its variables."""


class Settings(Record):
    """A namespace of settings, as argparse makes."""


class _Marker(Record):
    """Something with a name and no other use, such as numpy.ndarray as a type."""


class DType(Record):
    """numpy.dtype("f4", ...), then a state that has the byte order."""

    order = "<"

    @property
    def code(self) -> str:
        """A key of ARRAYS. Raises DamagedError for what has none."""
        code = str(self.args[0]) if self.args else ""
        if self.order == ">" or code not in ARRAYS:
            raise DamagedError(f"an array of numbers of the kind {self.order + code!r}, which is not read")
        return code

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class Array(Record):
    """In place of numpy.ndarray: filled by its state (version, shape, dtype, Fortran order, bytes)."""

    tensor: TensorRef

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.tensor = _array(shape, dtype, data, fortran=bool(fortran))


class _Call:
    """A function that a file may call. It can be called and nothing else: no attribute can be set."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise DamagedError("it sets an attribute of a function")

    def __setstate__(self, state: Any) -> None:
        raise DamagedError("it sets the state of a function")


class StorageType(_Call):
    """torch.FloatStorage and its kin, which name the type of a storage and are not called."""

    __slots__ = ("dtype",)
    dtype: str

    def __init__(self, dtype: str) -> None:
        super().__init__(_not_called)
        object.__setattr__(self, "dtype", dtype)


def _not_called(*args: Any) -> Any:
    raise DamagedError("it constructs a storage by itself")


def _array(shape: Any, dtype: Any, data: Any, *, fortran: bool) -> TensorRef:
    if not isinstance(dtype, DType):
        raise DamagedError("an array without a type")
    code = dtype.code
    if isinstance(data, str):  # of Python 2
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray):
        raise DamagedError("an array whose numbers are no bytes")
    size = _sizes(shape)
    stride, step = [], 1
    for n in size if fortran else reversed(size):
        stride.append(step)
        step *= n
    kind = ARRAYS[code]
    storage = Storage(kind, len(data) // ITEM_SIZE[kind], bytes(data))
    return tensor(storage, 0, size, stride if fortran else stride[::-1])


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > MAX_DIMENSIONS:
        raise DamagedError("a shape that is none")
    if not all(isinstance(n, int) and 0 <= n < 2**48 for n in values):
        raise DamagedError("a shape that is none")
    return tuple(values)


def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> TensorRef:
    """torch._utils._rebuild_tensor_v2 without the tensor. Raises DamagedError unless the view fits its storage."""
    if not isinstance(storage, Storage):
        raise DamagedError("a tensor without a storage")
    (offset,), size, stride = _sizes((offset,)), _sizes(size), _sizes(stride)
    if len(size) != len(stride):
        raise DamagedError("a tensor whose shape and strides differ in length")
    numel = math.prod(size)
    if numel:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if last >= storage.numel or numel > storage.numel:
            raise DamagedError(f"a tensor of shape {list(size)} that is larger than what the file has of it")
    return TensorRef(storage, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _reconstructor(cls: Any, base: Any, state: Any) -> Any:
    """copyreg._reconstructor, by which protocols 0 and 1 make objects."""
    if not (isinstance(cls, type) and issubclass(cls, Record | Dict)):
        raise DamagedError("an object of a class that is none")
    return cls()


def _encode(text: Any, encoding: Any) -> bytes:
    """_codecs.encode, by which Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise DamagedError("text in an encoding other than latin1")
    return text.encode("latin-1")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    """numpy.core.multiarray.scalar: a number."""
    code = str(dtype.args[0]) if isinstance(dtype, DType) and dtype.args else ""
    if code not in _SCALARS or dtype.order == ">":
        raise DamagedError("a number of a kind that is not read")
    return struct.unpack("<" + _SCALARS[code], data.encode("latin-1") if isinstance(data, str) else data)[0]


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> Array:
    """numpy.core.numeric._frombuffer, by which protocol 5 makes arrays."""
    array = Array()
    array.tensor = _array(shape, dtype, buffer, fortran=order == "F")
    return array


def _storage_from_bytes(data: Any) -> Any:
    """torch.storage._load_from_bytes: a storage within a pickle, in the format of torch's own files."""
    from ganzoo.importing.formats import read_legacy

    if not isinstance(data, bytes):
        raise DamagedError("a storage that is no bytes")
    return read_legacy(io.BytesIO(data), len(data), data)


def _record(name: str, base: type[Record]) -> type[Record]:
    return type(base.__name__, (base,), {"name": name})


def _allowed() -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): Dict,
        ("collections", "defaultdict"): _Call(lambda *args: Dict()),
        ("dnnlib.util", "EasyDict"): Dict,
        ("_codecs", "encode"): _Call(_encode),
        ("torch._utils", "_rebuild_tensor"): _Call(tensor),
        ("torch._utils", "_rebuild_tensor_v2"): _Call(tensor),
        ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
        ("torch._utils", "_rebuild_parameter_with_state"): _Call(_parameter),
        ("torch.storage", "_load_from_bytes"): _Call(_storage_from_bytes),
        ("torch", "Size"): _Call(lambda sizes=(): _sizes(sizes)),
        ("torch", "device"): _Call(lambda *args: None),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _record("torch_utils.persistence", Persistent),
        ("dnnlib.tflib.network", "Network"): _record("dnnlib.tflib.network.Network", TFNetwork),
        ("tfutil", "Network"): _record("tfutil.Network", TFNetwork),
        ("argparse", "Namespace"): _record("argparse.Namespace", Settings),
        ("models.utils.config", "BaseConfig"): _record("models.utils.config.BaseConfig", Settings),
        ("numpy", "ndarray"): _record("numpy.ndarray", _Marker),
        ("numpy", "dtype"): DType,
    }
    for builtins in ("builtins", "__builtin__"):
        found[builtins, "set"], found[builtins, "frozenset"] = _Call(set), _Call(frozenset)
        for name in ("object", "list", "dict", "int", "float"):  # as a base, or the factory of a defaultdict
            found[builtins, name] = _record(name, _Marker)
    for copyreg in ("copyreg", "copy_reg"):
        found[copyreg, "_reconstructor"] = _Call(_reconstructor)
    for core in ("numpy.core", "numpy._core"):
        found[core + ".multiarray", "_reconstruct"] = _Call(lambda *args: Array())
        found[core + ".multiarray", "scalar"] = _Call(_scalar)
        found[core + ".numeric", "_frombuffer"] = _Call(_frombuffer)
    for storage, dtype in STORAGES.items():
        found["torch", storage] = StorageType(dtype)
    for dtype in ITEM_SIZE:
        found["torch", dtype] = _record(f"torch.{dtype}", _Marker)
    return found


ALLOWED = _allowed()


class BoundedFile:
    """A file that does not make room for more than it has: pickles say sizes before the bytes."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        if hasattr(file, "peek"):  # by which the unpickler reads ahead without losing its place
            self.peek = file.peek

    def read(self, n: int = -1) -> bytes:
        if n > self._size - self._file.tell():
            raise DamagedError("it ends early, or says wrong sizes")
        return self._file.read(n)

    def readline(self) -> bytes:
        return self._file.readline()


class Unpickler(pickle.Unpickler):
    """Reads one pickle. storage: what a persistent id of torch's stands for, where there are such."""

    def __init__(self, file: IO[bytes], size: int, *, storage: Callable[[Any], Storage] | None = None) -> None:
        super().__init__(BoundedFile(file, size), encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise RefusedError(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Storage:
        if self._storage is None:
            raise DamagedError("it refers to something outside of it")
        return self._storage(pid)
