"""Weights: only from files, only tensors, only of the right network. And torch-fidelity's own numbers."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.evaluation import fidelity
from ganzoo.evaluation.evaluate import evaluate
from ganzoo.evaluation.fidelity import InceptionV3, WeightsFile, extractor_classes, read_tensors, torch_fidelity

pytestmark = pytest.mark.usefixtures("needs_torch_fidelity")


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch) -> Path:
    """torch's folder of downloads; whoever tries to download fails."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(url, *args, **kwargs):
        raise AssertionError(f"downloads {url}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "hub"


@pytest.fixture(scope="session")
def inception(tmp_path_factory) -> Path:
    """A file of random weights that torch-fidelity's Inception takes."""
    torch_fidelity()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, *args, **kwargs):
            pass

    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save({}, path)
    torch.manual_seed(0)
    network = Untrained("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), path)
    return path


def test_names_are_torch_fidelitys():
    torch_fidelity()
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    assert extractor_classes().keys() == FEATURE_EXTRACTORS_REGISTRY.keys()


def test_files_are_those_that_torch_fidelity_downloads():
    torch_fidelity()
    from torch_fidelity import feature_extractor_clip as clip
    from torch_fidelity import feature_extractor_inceptionv3 as inception_v3
    from torch_fidelity import sample_similarity_lpips as lpips

    classes = extractor_classes()
    assert classes["inception-v3-compat"].file.url == inception_v3.URL_INCEPTION_V3
    assert fidelity.LPIPS_WEIGHTS.url == lpips.URL_VGG16_LPIPS
    for name, url in clip.MODEL_URLS.items():
        assert (classes[name].file.url, classes[name].file.sha256) == (url, clip.MODEL_METADATA[name]["hash"])


@pytest.mark.parametrize("name", extractor_classes())
def test_nothing_is_downloaded_unasked(name):
    with pytest.raises(GanzooError, match=r"https://\S+.*--allow-download|--allow-download.*https://") as error:
        extractor_classes()[name]()
    if not name.startswith("dinov2"):
        assert "no such file" in str(error.value)
        assert "iB)" in str(error.value)


def test_downloading_is_checked_against_the_hash(hub, monkeypatch):
    def download(url, target, hash_prefix):
        assert hash_prefix == "abc"
        Path(target).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    file = WeightsFile("w.pth", "https://example.org/w.pth", "1 MiB", "abc")
    assert file.find(allow_download=True) == hub / "checkpoints" / "w.pth"


def test_a_download_that_fails_says_what_to_do(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(CheckpointError, match=r"example\.org/w\.pth: cannot be downloaded: no route to host"):
        WeightsFile("w.pth", "https://example.org/w.pth", "1 MiB").find(allow_download=True)


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    path = tmp_path / "evil.pth"
    torch.save({"weight": Evil()}, path)
    with pytest.raises(CheckpointError, match=r"evil\.pth: refused, because it holds more than tensors"):
        InceptionV3(weights=str(path))
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match=r"evil\.pth"):
        InceptionV3(weights=str(path))
    assert not marker.exists()


@pytest.mark.parametrize("contents", [b"", b"not weights at all", b"PK\x03\x04 half a zip"])
def test_a_damaged_file(tmp_path, contents):
    path = tmp_path / "w.pth"
    path.write_bytes(contents)
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        read_tensors(path)


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(torch.nn.Linear(3, 3).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"other\.pth: holds weights of another network than inception-v3-compat"):
        InceptionV3(weights=str(path))
    with pytest.raises(CheckpointError, match=r"other\.pth: is not the file that OpenAI published for clip-rn50"):
        extractor_classes()["clip-rn50"](weights=str(path))


def test_a_file_that_is_missing():
    with pytest.raises(CheckpointError, match=r"nowhere\.pth: no such file of weights"):
        InceptionV3(weights="nowhere.pth")


@pytest.mark.slow
def test_inception_gives_the_layers_that_are_asked_for(inception):
    extractor = InceptionV3(weights=str(inception))
    assert extractor.weights_hash == hashlib.sha256(inception.read_bytes()).hexdigest()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    found = extractor.features(images, ["logits_unbiased", "2048"])
    assert {layer: tuple(values.shape) for layer, values in found.items()} == {
        "logits_unbiased": (2, 1008),
        "2048": (2, 2048),
    }
    alone = extractor.features(images, ["2048"])
    assert torch.equal(alone["2048"], found["2048"])
    assert [extractor.layer_for(metric) for metric in ("fid", "isc", "mine")] == ["2048", "logits_unbiased", "2048"]


@pytest.mark.slow
def test_numbers_are_torch_fidelitys(inception, make_folder, plugins, tmp_path):
    fake, real = make_folder("fake", 104, shift=20, seed=1), make_folder("real", 100)
    options = {"weights": inception, "device": "cpu", "plugins": plugins, "log": lambda line: None}
    ours = {r.name: r.value for r in evaluate(fake, real, ["fid", "kid", "isc", "prc"], **options)}
    torch_fidelity()
    from torch_fidelity import calculate_metrics

    theirs = calculate_metrics(
        input1=str(fake),
        input2=str(real),
        fid=True,
        kid=True,
        isc=True,
        prc=True,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(inception),
        kid_subset_size=100,
        cuda=False,
        cache=False,
        save_cpu_ram=True,  # no worker processes
        verbose=False,
    )
    assert ours["fid"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert ours["kid"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert ours["isc"] == pytest.approx(theirs["inception_score_mean"], rel=1e-4)
    for name in ("precision", "recall", "f_score"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4)


def test_torchvision_is_imported_whatever_it_was_built_for():
    """In a fresh process, where nothing has been imported or declared yet."""
    code = (
        "from ganzoo.evaluation.torchvision_remedy import import_torchvision; "
        "import_torchvision(); import_torchvision(); "
        "import torch_fidelity; print(torch_fidelity.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0.")


def test_operators_are_declared_only_where_they_do_not_load(monkeypatch):
    from ganzoo.evaluation import torchvision_remedy as remedy

    declared = []
    monkeypatch.setattr(remedy, "_declare_operators", lambda: declared.append(True))
    monkeypatch.setattr(remedy, "operators_load", lambda: True)
    monkeypatch.delitem(sys.modules, "torchvision")
    monkeypatch.setattr(remedy.importlib, "import_module", lambda name: name)
    assert remedy.import_torchvision() == "torchvision"
    assert not declared
    monkeypatch.setattr(remedy, "operators_load", lambda: False)
    remedy.import_torchvision()
    assert declared
