"""After import, the images of the original projects: reference data written out by benchmarks/import_equal.py.

``pytest -s`` prints the table.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from ganzoo.errors import CheckpointError
from ganzoo.importing.convert import families, import_weights
from ganzoo.plugins import load_plugins

for plugin in ("biggan", "classic", "progan", "stylegan", "translation"):
    pytest.importorskip(f"ganzoo_{plugin}")

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("import_equal", ROOT / "benchmarks" / "import_equal.py")
import_equal = importlib.util.module_from_spec(_spec)
sys.modules["import_equal"] = import_equal  # dataclasses look themselves up
_spec.loader.exec_module(import_equal)

pytestmark = pytest.mark.skipif(
    not import_equal.GOLDEN.is_dir(), reason="reference data (shared/golden) are not beside this checkout"
)
CASES = [
    pytest.param(case, name, id=f"{case.family}-{name}-{case.stored}")
    for case in import_equal.CASES
    for name in (import_equal.items_of(case) if import_equal.GOLDEN.is_dir() else ["absent"])
]


@pytest.fixture(scope="module")
def rows():
    found = []
    yield found
    print("\n" + import_equal.table(found))


@pytest.mark.parametrize(("case", "name"), CASES)
def test_the_images_are_those_of_the_original(case, name, rows):
    row = import_equal.measure(case, name)
    rows.append(row)
    assert row.largest > 0.01
    assert row.relative < 1e-4


def test_what_is_another_function_is_refused_by_name(tmp_path):
    item = import_equal.load_item("stylegan1_pgz_s32")
    files = import_equal.save({"netG": import_equal.state_dict(item.under("w/G/"))}, tmp_path / "stylegan.pt")
    with pytest.raises(CheckpointError, match=r"StyleGAN of pytorch_GAN_zoo.*another function"):
        import_weights(files, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_every_family_has_a_case():
    refused = {"stylegan-pgz"}
    assert {case.family for case in import_equal.CASES} == families(load_plugins().registry).keys() - refused
