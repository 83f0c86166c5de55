"""Importers know what is theirs; with reference data, tests/importing compares the images."""

from __future__ import annotations

import pytest

import ganzoo_stylegan
from ganzoo.testing import check_component, registered

IMPORTERS = [entry for entry in registered(ganzoo_stylegan) if entry.kind == "importer"]


@pytest.mark.parametrize("entry", IMPORTERS, ids=lambda entry: entry.name)
def test_contract(entry):
    check_component(entry)
