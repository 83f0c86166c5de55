from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ganzoo.cli import main
from ganzoo.evaluation import doctor as module
from ganzoo.evaluation.doctor import Finding

pytestmark = pytest.mark.usefixtures("needs_torch_fidelity", "installed_plugins")


@pytest.fixture
def call():
    def call(*arguments, code=0):
        done = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert done.exit_code == code, (done.output, done.exception)
        return done

    return call


@pytest.fixture
def measure(call):
    def measure(*arguments, code=0):
        return call("eval", *arguments, "--extractor", "mean-colours", "--device", "cpu", code=code)

    return measure


def test_eval_prints_values_with_errors_and_how_they_were_measured(measure, make_folder):
    done = measure(make_folder("a"), "--data", make_folder("b", seed=1), "--fid", "--prc", "--metric", "brightness")
    assert [line.split()[0] for line in done.stdout.splitlines()[:5]] == [
        *("fid", "precision", "recall", "f_score", "brightness"),
    ]
    assert " ± " in done.stdout.splitlines()[0]
    assert "fid: 120 of a against 120 of b" in done.stdout
    assert "mean-colours (none), layer cells" in done.stdout
    assert "warning: a: 120 images" in done.stderr


def test_eval_as_json_and_as_a_file(measure, make_folder, tmp_path):
    done = measure(make_folder("a"), "--data", make_folder("b"), "--kid", "--json", "--out", tmp_path / "r" / "a.json")
    (result,) = json.loads(done.stdout)["results"]
    assert result["name"] == "kid"
    assert json.loads((tmp_path / "r" / "a.json").read_text()) == json.loads(done.stdout)


def test_eval_wants_a_metric(measure, make_folder):
    assert "say what to measure: --fid" in measure(make_folder("a"), code=2).output


def test_eval_reports_mistakes_without_a_traceback(measure, tmp_path):
    done = measure(tmp_path / "nowhere", "--data", tmp_path, "--fid", code=2)
    assert done.stderr.startswith("error: ")
    assert "nowhere: no such file or folder" in done.stderr


def test_eval_says_that_it_can_be_interrupted(measure, make_folder, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("ganzoo.evaluation.features.Features.compute", interrupt)
    done = measure(make_folder("a"), "--data", make_folder("b"), "--fid", code=130)
    assert "the same command goes on from there" in done.stderr


def test_compare(measure, call, make_folder, tmp_path):
    real = make_folder("real")
    for name, shift in (("near", 5), ("far", 60)):
        measure(make_folder(name, seed=1, shift=shift), "--data", real, "--fid", "--out", tmp_path / f"{name}.json")
    done = call("compare", tmp_path / "near.json", tmp_path / "far.json")
    assert "the second is worse by" in done.stdout
    measure(make_folder("few", 110), "--data", real, "--fid", "--out", tmp_path / "few.json")
    done = call("compare", tmp_path / "near.json", tmp_path / "few.json", code=2)
    assert "fid: number of generated images: 120 against 110" in done.stderr


def test_doctor_finds_this_installation_usable(call):
    done = call("doctor")
    subjects = {line[9:].partition(":")[0] for line in done.stdout.splitlines()}
    assert {"python", "torch", "torchvision", "torch-fidelity", "GPU", "video", "disk, cache"} <= subjects
    assert json.loads(call("doctor", "--json").stdout)[0] == {"state": "ok", "subject": "python"} | {
        "text": json.loads(call("doctor", "--json").stdout)[0]["text"]
    }


def test_doctor_exits_with_1_if_there_is_a_problem(call, monkeypatch):
    monkeypatch.setattr(module, "_video", lambda: Finding("problem", "video", "is broken; repair it"))
    assert "problem  video: is broken; repair it" in call("doctor", code=1).stdout


def test_doctor_names_damaged_weights(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    before = {finding.state for finding in module._weights()}
    assert before == {"warning"}
    from ganzoo.evaluation.fidelity import INCEPTION_WEIGHTS, VGG16_WEIGHTS

    INCEPTION_WEIGHTS.path.parent.mkdir()
    INCEPTION_WEIGHTS.path.write_bytes(b"half a file")
    torch.save({}, VGG16_WEIGHTS.path)
    found = [finding for finding in module._weights() if finding.state == "problem"]
    assert "delete it and get https://" in found[0].text
    assert "is not what was published" in found[1].text


def test_doctor_names_a_broken_plugin(monkeypatch):
    from ganzoo.plugins import LoadedPlugins, PluginFailure, load_plugins
    from ganzoo.registry import Owner

    loaded: LoadedPlugins = load_plugins()
    loaded.failures.append(PluginFailure("bad", Owner("ganzoo-bad", "0.1"), "ImportError: no module named 'x'"))
    monkeypatch.setattr("ganzoo.plugins.load_plugins", lambda: loaded)
    (problem,) = [finding for finding in module._plugins() if finding.state == "problem"]
    assert "ganzoo-bad 0.1" in problem.text
