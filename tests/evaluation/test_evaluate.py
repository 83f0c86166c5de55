from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ganzoo.errors import DataError, RegistryError
from ganzoo.evaluation.evaluate import evaluate
from ganzoo.generation import sample, seeds_to_latents
from ganzoo.generation.load import load_generator

EXTRACTOR = "mean-colours"


@pytest.fixture
def run(plugins):
    """``run(subject, data, metrics, ...)`` with the extractor that needs no weights; keeps what was said."""
    said = []

    def run(subject, data, metrics=("fid",), **options):
        options = {"extractor": EXTRACTOR, "device": "cpu", "plugins": plugins, "log": said.append, **options}
        return {result.name: result for result in evaluate(subject, data, list(metrics), **options)}

    run.said = said
    return run


pytestmark = pytest.mark.usefixtures("needs_torch_fidelity")


def test_a_set_against_itself(run, make_folder):
    found = run(make_folder("a"), make_folder("b"), ["fid", "kid", "prc"])
    assert found["fid"].value == pytest.approx(0, abs=1e-6)
    assert (found["precision"].value, found["recall"].value) == (1, 1)
    assert found["kid"].value < 1e-3


def test_worse_images_have_worse_numbers(run, make_folder):
    real = make_folder("real")
    near, far = (run(make_folder(f"{s}", seed=1, shift=s), real)["fid"].value for s in (10, 40))
    assert 0 < near < far


def test_a_result_says_everything_about_itself(run, make_folder):
    result = run(make_folder("mine", 150), make_folder("real"), ["kid"])["kid"]
    assert (result.metric, result.extractor, result.weights_hash, result.layer) == ("kid", EXTRACTOR, "none", "cells")
    assert (result.num_fake, result.num_real, result.resolution, result.channels) == (150, 120, 16, 3)
    assert result.settings == {"subsets": 100, "subset_size": 120}
    assert (result.subject, result.data, result.seed) == ("mine", "real", None)
    assert result.standard_error > 0
    assert result.lower_is_better
    assert {"ganzoo", "torch", "numpy", "torch-fidelity", "evaluation"} <= result.versions.keys()
    assert result.data_fingerprint != result.subject_hash


def test_a_snapshot_against_the_data_of_its_recipe(run, make_snapshot):
    result = run(make_snapshot(), None, ["fid", "isc"], num=110)["fid"]
    assert (result.num_fake, result.num_real, result.data, result.seed) == (110, 120, "faces", 0)
    assert "as the recipe's data section says" in result.resize
    assert result.value > 0


def test_a_run_folder_stands_for_its_newest_snapshot(run, make_snapshot, make_folder):
    snapshot, data = make_snapshot(), make_folder("real")
    folder, file = (run(subject, data, num=110)["fid"] for subject in (snapshot.parents[1], snapshot))
    assert (folder.value, folder.subject_hash) == (file.value, file.subject_hash)


def test_generated_images_are_those_of_sample(run, make_snapshot, plugins, tmp_path, make_folder):
    """Images written by ``sample`` and measured as a folder give what the snapshot gives."""
    snapshot, data = make_snapshot(), make_folder("real")
    generator = load_generator(snapshot, plugins=plugins)
    (tmp_path / "samples").mkdir()
    for i, image in enumerate(sample(generator, seeds_to_latents(range(7, 127), 4))):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "samples" / f"{i:04d}.png")
    written = run(tmp_path / "samples", data)["fid"]
    generated = run(snapshot, data, num=120, seed=7)["fid"]
    assert generated.value == pytest.approx(written.value, rel=1e-3)
    assert generated.seed == 7


def test_a_conditional_snapshot_takes_labels_from_the_data(run, make_snapshot, make_folder):
    assert run(make_snapshot(c_dim=7), None, num=110)["fid"].value > 0
    with pytest.raises(DataError, match=r"real: the generator wants labels of size 8.*here are none"):
        run(make_snapshot(c_dim=8), make_folder("real"))
    with pytest.raises(DataError, match=r"faces: the generator wants labels of size 8.*they have size 7"):
        run(make_snapshot(c_dim=8), None)


def test_a_diverged_snapshot_is_refused(run, make_snapshot, make_folder):
    with pytest.raises(DataError, match="seed 0 has values that are no numbers"):
        run(make_snapshot(broken=True), make_folder("real"), num=110)


def test_few_images_are_warned_about_and_very_few_refused(run, make_folder):
    real = make_folder("real")
    run(make_folder("enough", 100), real)
    assert any("enough: 100 images. Below 2,048" in line for line in run.said)
    with pytest.raises(DataError, match="few: 99 images are too few for fid"):
        run(make_folder("few", 99), real)


def test_grey_against_colour_is_refused_before_any_work(run, make_folder, plugins):
    extractor = plugins.registry.get("extractor", EXTRACTOR).cls
    with pytest.raises(DataError, match="a is grey and b is RGB"):
        run(make_folder("a", mode="L"), make_folder("b"))
    assert extractor.seen == 0


def test_sizes_that_differ_need_a_resolution(run, make_folder):
    a, b = make_folder("a", size=16), make_folder("b", size=24)
    with pytest.raises(DataError, match="--resolution 16"):
        run(a, b)
    result = run(a, b, resolution=8)["fid"]
    assert result.resolution == 8
    assert "lanczos to 8 x 8" in result.resize


def test_metrics_of_images_and_of_generators(run, make_folder):
    result = run(make_folder("a", shift=20), make_folder("b"), ["brightness"])["brightness"]
    assert result.value == pytest.approx(20, abs=3)
    assert (result.extractor, result.layer) == ("", "")
    with pytest.raises(DataError, match=r"a: ppl needs a generator.*give a snapshot"):
        run(make_folder("c") and make_folder("d").parent / "a", None, ["ppl"])


def test_folders_are_thinned_to_what_a_metric_looks_at(run, make_folder, plugins, monkeypatch):
    """Then the standard error is that of the number, and the record says how many images there were."""
    metric = plugins.registry.get("metric", "brightness").cls
    monkeypatch.setattr(metric, "max_samples", 40)
    a, b = make_folder("a", shift=20), make_folder("b")
    result = run(a, b, ["brightness"])["brightness"]
    assert (result.num_fake, result.num_real) == (40, 40)
    values = [np.asarray(Image.open(path)).mean() for path in sorted(a.iterdir())[::3]]  # 40 of 120, evenly
    others = [np.asarray(Image.open(path)).mean() for path in sorted(b.iterdir())[::3]]
    assert result.value == pytest.approx(np.mean(values) - np.mean(others), abs=1e-6)


def test_a_comparison_needs_data(run, make_folder):
    with pytest.raises(DataError, match="fid compares with real images; say which with --data"):
        run(make_folder("a"), None)


def test_a_name_that_nobody_registered(run, make_folder):
    with pytest.raises(RegistryError, match=r"no metric is called 'fit'.*did you mean 'fid'"):
        run(make_folder("a"), None, ["fit"])
    with pytest.raises(RegistryError, match=r"no extractor is called 'inception'.*inception-v3-compat"):
        run(make_folder("b"), make_folder("c"), extractor="inception")


def test_real_features_are_kept_and_those_under_test_are_not(run, make_folder, plugins, cache):
    extractor = plugins.registry.get("extractor", EXTRACTOR).cls
    a, b = make_folder("a"), make_folder("b", seed=1)
    run(a, b)
    assert extractor.seen == 240
    assert len(list((cache / "features").iterdir())) == 1
    run(a, b, ["kid"])
    assert extractor.seen == 360


def test_results_do_not_depend_on_what_else_is_measured(run, make_folder):
    a, b = make_folder("a"), make_folder("b", seed=1)
    assert run(a, b, ["fid", "kid", "isc"])["kid"].value == run(a, b, ["kid"])["kid"].value


def test_features_that_are_no_numbers_are_refused(run, make_folder, plugins, monkeypatch):
    cls = plugins.registry.get("extractor", EXTRACTOR).cls
    original = cls.features
    monkeypatch.setattr(
        cls, "features", lambda self, images, layers: {k: v * np.nan for k, v in original(self, images, layers).items()}
    )
    with pytest.raises(DataError, match="features of layer cells are not finite"):
        run(make_folder("a"), make_folder("b"), ["kid"])
