from __future__ import annotations

from dataclasses import replace

import pytest

from ganzoo.errors import DataError
from ganzoo.evaluation.results import PROTOCOL, Result, compare, load_results, save_results, table

FID = Result(
    name="fid",
    value=12.5,
    standard_error=0.3,
    lower_is_better=True,
    metric="fid",
    settings={},
    extractor="inception-v3-compat",
    weights_hash="6726825d",
    layer="2048",
    extractor_resize="bilinear",
    num_fake=50_000,
    num_real=50_000,
    resolution=32,
    channels=3,
    resize="none; none",
    background="white",
    data="cifar10",
    data_fingerprint="28f1dcd7",
    subject="snapshot-000100.safetensors",
    subject_hash="f00d",
    seed=0,
    versions={"ganzoo": "0.1.0"},
)


def test_round_trip(tmp_path):
    results = [FID, replace(FID, name="isc", value=8.1, standard_error=None, lower_is_better=False)]
    save_results(tmp_path / "a.json", results)
    assert load_results(tmp_path / "a.json") == results


@pytest.mark.parametrize("text", ["", "[]", '{"format": "ganzoo-evaluation/1"}', '{"results": []}'])
def test_a_file_that_holds_no_results(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json: holds no results"):
        load_results(tmp_path / "a.json")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"a\.json: no such file; `ganzoo eval \.\.\. --out a\.json` writes one"):
        load_results(tmp_path / "a.json")


def test_a_later_format_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"format": "ganzoo-evaluation/9", "results": []}')
    with pytest.raises(DataError, match="format ganzoo-evaluation/9; this ganzoo reads"):
        load_results(tmp_path / "a.json")


@pytest.mark.parametrize("key", PROTOCOL)
def test_whatever_differs_in_the_protocol_is_refused_and_named(key):
    other = replace(FID, **{key: {"subsets": 1} if key == "settings" else "other"})
    with pytest.raises(DataError, match=rf"a and b cannot be compared:\n  fid: {PROTOCOL[key]}: .* against "):
        compare([FID], [other], ("a", "b"))


def test_subject_seed_and_versions_may_differ():
    (found,) = compare([FID], [replace(FID, subject="x", subject_hash="y", seed=9, versions={})], ("a", "b"))
    assert found.difference == 0


@pytest.mark.parametrize(
    ("value", "lower_is_better", "verdict"),
    [
        (12.9, True, "within 2 standard errors: no difference to speak of"),
        (15.0, True, "the second is worse by 5.0 standard errors"),
        (10.0, True, "the second is better by 5.0 standard errors"),
        (15.0, False, "the second is better by 5.0 standard errors"),
    ],
)
def test_verdicts(value, lower_is_better, verdict):
    a = replace(FID, standard_error=0.3, lower_is_better=lower_is_better)
    (found,) = compare([a], [replace(a, value=value, standard_error=0.4)], ("a", "b"))
    assert found.error == pytest.approx(0.5)
    assert found.verdict == verdict


def test_without_standard_errors_there_is_no_verdict():
    (found,) = compare([FID], [replace(FID, value=1.0, standard_error=None)], ("a", "b"))
    assert found.verdict == "no standard errors, so nobody can tell"


def test_nothing_in_common():
    with pytest.raises(DataError, match="nothing to compare: a has fid; b has isc"):
        compare([FID], [replace(FID, name="isc")], ("a", "b"))


def test_the_table_shows_value_error_and_direction():
    assert table([FID, replace(FID, name="recall", value=0.5, standard_error=None, lower_is_better=False)]) == (
        "fid     12.5 ± 0.3  (lower is better)\nrecall  0.5  (higher is better)"
    )
