"""No line of ours hands data to something that could run it; every exception is listed below with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for root in (ROOT / "ganzoo", *sorted(ROOT.glob("plugins/*/ganzoo_*"))) for path in root.rglob("*.py")
)

# (file or folder, rule) -> why it may.
ALLOWED = {
    ("ganzoo/importing/", "pickle"): "an Unpickler of its own whose find_class knows a few names and no others",
    ("ganzoo/importing/", "getattr of a module"): "torch's dtypes and the system's limits, by names written there",
    ("ganzoo/__init__.py", "import by name"): "the names are the values of _LAZY, a table in that file",
    ("ganzoo/cli/__init__.py", "import by name"): "the names are the keys of COMMANDS, a table in that file",
    (
        "ganzoo/plugins.py",
        "entry points",
    ): "installed distributions are code that its user chose; data never gets there",
    (
        "ganzoo/plugins.py",
        "getattr of a module",
    ): "the names are the values of REGISTRATION_HOOKS, a table in that file",
    ("ganzoo/heap.py", "code in a file"): "the C library that this process already runs with",
    ("ganzoo/evaluation/torchvision_remedy.py", "code in a file"): "the operators of the installed torchvision",
}
_MAY_BE_ABSENT = {("ganzoo/importing/", "pickle"), ("ganzoo/importing/", "getattr of a module")}

# Of pickle, only what names its errors.
_PICKLES = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "pickletools",
}
_PICKLE_ERRORS = {"pickle.UnpicklingError", "pickle.PickleError"}

_NEVER = {
    "eval": {"eval", "exec", "compile", "execfile", "builtins.eval", "builtins.exec", "builtins.compile"},
    "import by name": {
        "__import__",
        "builtins.__import__",
        "importlib.__import__",
        "importlib.util.spec_from_file_location",
        "importlib.machinery.SourceFileLoader",
        "importlib.machinery.SourcelessFileLoader",
        "imp.load_source",
        "pkgutil.resolve_name",
        "pydoc.locate",
        "runpy.run_path",
        "runpy.run_module",
        "pydantic.ImportString",
        "torch.hub.load",
    },
    "pickle": {
        "torch.package.PackageImporter",
        "torch.distributed.all_gather_object",
        "torch.distributed.broadcast_object_list",
        "torch.distributed.gather_object",
        "torch.distributed.recv_object_list",
        "torch.distributed.scatter_object_list",
        "torch.hub.load_state_dict_from_url",
        "multiprocessing.connection.Client",
        "multiprocessing.connection.Listener",
        "pandas.read_pickle",
    },
    "code in a file": {
        "torch.jit.load",
        "torch.export.load",
        "ctypes.CDLL",
        "ctypes.cdll.LoadLibrary",
        "torch.ops.load_library",
    },
    "shell": {
        "os.system",
        "os.popen",
        "pty.spawn",
        "commands.getoutput",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
        "asyncio.create_subprocess_shell",
    },
    "unsafe YAML": {
        f"yaml.{name}"
        for name in (
            *("load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"),
            *("Loader", "CLoader", "FullLoader", "CFullLoader", "UnsafeLoader", "CUnsafeLoader"),
            *("Dumper", "CDumper"),  # what they write needs an unsafe loader
        )
    },
    "unpacking": {"shutil.unpack_archive"},
    "XML": {"xml.etree.ElementTree.parse", "xml.etree.ElementTree.fromstring", "xml.dom.minidom.parse"},
}
_NEVER_METHODS = {
    "extractall": "unpacking",
    "extract": "unpacking",
    "exec_module": "import by name",
    "load_module": "import by name",
}


def _names(tree: ast.AST) -> dict[str, str]:
    """Local name -> what was imported under it, dotted."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """'np.load' of an expression -> 'numpy.load'; '' for what is no chain of names."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    return ""


def _is(node: ast.AST | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _calls(node: ast.Call, name: str, names: dict[str, str]) -> Iterator[str]:
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if name == "torch.load" and not _is(keywords.get("weights_only"), True):
        yield "pickle"
    if "allow_pickle" in keywords and not _is(keywords["allow_pickle"], False):
        yield "pickle"
    if name.startswith("numpy.") and name.rpartition(".")[2] in ("load", "read_array") and len(node.args) > 2:
        yield "pickle"  # allow_pickle by position
    if "shell" in keywords and not _is(keywords["shell"], False):
        yield "shell"
    if name in ("importlib.import_module", "import_module") and not (
        node.args and isinstance(node.args[0], ast.Constant)
    ):
        yield "import by name"
    if name in ("importlib.metadata.entry_points", "importlib.metadata.EntryPoint") or (
        isinstance(node.func, ast.Attribute) and node.func.attr == "entry_points"
    ):
        yield "entry points"
    if name == "getattr" and len(node.args) > 1 and not isinstance(node.args[1], ast.Constant):
        of = node.args[0]
        if isinstance(of, ast.Name) and of.id in names:
            yield "getattr of a module"
        if isinstance(of, ast.Call) and _dotted(of.func, names) == "importlib.import_module":
            yield "import by name"
    if name == "PIL.Image.open" and "formats" not in keywords:
        yield "any image format"
    if isinstance(node.func, ast.Attribute) and node.func.attr in _NEVER_METHODS:
        yield _NEVER_METHODS[node.func.attr]


def violations(source: str) -> list[tuple[int, str]]:
    """(line, rule) of everything in ``source`` that could run, import or unpack what data say."""
    tree = ast.parse(source)
    names = _names(tree)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):  # not a field of that name
            name = _dotted(node, names)
            if name.partition(".")[0] in _PICKLES and "." in name and name not in _PICKLE_ERRORS:
                found.add((node.lineno, "pickle"))
            found |= {(node.lineno, rule) for rule, never in _NEVER.items() if name in never}
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if node.module.partition(".")[0] in _PICKLES and name not in _PICKLE_ERRORS:
                    found.add((node.lineno, "pickle"))
                found |= {(node.lineno, rule) for rule, never in _NEVER.items() if name in never}
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in _PICKLES - {"pickle"}:
                    found.add((node.lineno, "pickle"))
        if isinstance(node, ast.Call):
            found |= {(node.lineno, rule) for rule in _calls(node, _dotted(node.func, names), names)}
    return sorted(found)


def _reason(path: str, rule: str) -> tuple[str, str] | None:
    return next(((at, of) for at, of in ALLOWED if of == rule and (path == at or path.startswith(at))), None)


def test_nothing_of_ours_runs_or_imports_what_data_say():
    assert len(FILES) > 100  # it has found the source
    used, found = set(), []
    for file in FILES:
        path = file.relative_to(ROOT).as_posix()
        for line, rule in violations(file.read_text(encoding="utf-8")):
            reason = _reason(path, rule)
            if reason is None:
                found.append(f"{path}:{line}: {rule}")
            else:
                used.add(reason)
    assert not found, "\n".join(found)
    assert ALLOWED.keys() - used <= _MAY_BE_ABSENT  # an exception that nothing needs any more goes


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import pickle\npickle.load(f)", "pickle"),
        ("import pickle as p\np.loads(b)", "pickle"),
        ("from pickle import loads", "pickle"),
        ("import pickle\nclass U(pickle.Unpickler): ...", "pickle"),
        ("import dill", "pickle"),
        ("import torch\ntorch.load(p)", "pickle"),
        ("import torch\ntorch.load(p, weights_only=False)", "pickle"),
        ("import torch\ntorch.load(p, weights_only=safe)", "pickle"),
        ("from torch import load\nload(p)", "pickle"),
        ("import numpy as np\nnp.load(p, allow_pickle=True)", "pickle"),
        ("import numpy as np\nnp.load(p, 'r', True)", "pickle"),
        ("import torch.distributed as dist\ndist.all_gather_object(a, b)", "pickle"),
        ("eval(text)", "eval"),
        ("exec(text)", "eval"),
        ("f = eval", "eval"),
        ("__import__(name)", "import by name"),
        ("import importlib\nimportlib.import_module(name)", "import by name"),
        ("from importlib import import_module\nimport_module(name)", "import by name"),
        ("import importlib\nget(importlib.import_module('torch'), 1)\ngetattr(importlib.import_module('a'), b)",
         "import by name"),
        ("import torch\ngetattr(torch, name)", "getattr of a module"),
        ("from importlib import metadata\nmetadata.entry_points()", "entry points"),
        ("spec.loader.exec_module(module)", "import by name"),
        ("import yaml\nyaml.load(t)", "unsafe YAML"),
        ("import yaml\nclass L(yaml.Loader): ...", "unsafe YAML"),
        ("from yaml import full_load", "unsafe YAML"),
        ("import subprocess\nsubprocess.run(c, shell=True)", "shell"),
        ("import os\nos.system(c)", "shell"),
        ("archive.extractall(p)", "unpacking"),
        ("import shutil\nshutil.unpack_archive(p)", "unpacking"),
        ("import tarfile\ntarfile.open(p).extract(member)", "unpacking"),
        ("import torch\ntorch.jit.load(p)", "code in a file"),
        ("from PIL import Image\nImage.open(p)", "any image format"),
    ],
)  # fmt: skip
def test_the_rules_see_it(source, rule):
    assert rule in {found for _, found in violations(source)}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\ntry: ...\nexcept pickle.UnpicklingError: ...",
        "model.eval()",
        "import torch\ntorch.load(p, weights_only=True)",
        "import numpy as np\nnp.load(p, mmap_mode='r')\nnp.load(p, allow_pickle=False)",
        "import yaml\nclass L(yaml.SafeLoader): ...\nyaml.compose(t, Loader=L)",
        "import importlib\nimportlib.import_module('torchvision')",
        "getattr(config, name)",
        "import subprocess\nsubprocess.run(['git', 'status'])",
        "from PIL import Image\nImage.open(p, formats=['PNG'])",
    ],
)
def test_the_rules_let_honest_code_pass(source):
    assert violations(source) == []
