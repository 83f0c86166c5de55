"""What ``--resume`` and ``--data`` mean, without training anything."""

import json

import pytest
import tiny

from ganzoo.errors import CheckpointError, GanzooError
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import dump_recipe, parse_recipe
from ganzoo.training import LATEST
from ganzoo.training.launch import resolve_run
from ganzoo.training.rundir import create_run_dir, find_run_dir


@pytest.fixture(scope="module")
def plugins():
    return make_plugin_manager({"tiny": tiny.TinyPlugin})


@pytest.fixture
def recipe_file(tmp_path):
    """tiny.yaml, which trains on the folder `placeholder`."""
    path = tmp_path / "tiny.yaml"
    path.write_text(tiny.RECIPE.replace("source: {name: faces, args: {num_images: 40}}", "path: placeholder"))
    return path


@pytest.fixture
def run_of(plugins, tmp_path):
    """Make the folder of a run, as far as ``resolve_run`` looks at it."""

    def make(name="tiny", data="images"):
        overrides = [f"name={name}", f"data.path={json.dumps(str(data))}"]
        recipe = parse_recipe(tiny.RECIPE, plugins.registry, filename="tiny", overrides=overrides)
        run_dir = create_run_dir(tmp_path / "runs", name, "images")
        (run_dir / "recipe.yaml").write_text(dump_recipe(recipe))
        return run_dir

    return make


@pytest.fixture
def resolve(plugins, tmp_path):
    def call(recipe, resume=LATEST, data=None, overrides=()):
        return resolve_run(
            recipe, plugins, flags={"data.path": data}, overrides=overrides, outdir=tmp_path / "runs", resume=resume
        )

    return call


def test_data_given_replace_a_built_in_source(plugins, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(tiny.RECIPE)
    recipe, resume_from = resolve_run(
        path, plugins, flags={"data.path": "a: b"}, overrides=[], outdir=tmp_path, resume=None
    )
    assert (recipe.data.path, recipe.data.source, resume_from) == ("a: b", None, None)


def test_the_run_knows_where_its_images_were(resolve, recipe_file, run_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    run_dir = run_of(data=images)
    recipe, resume_from = resolve(recipe_file)
    assert (resume_from, recipe.data.path) == (run_dir, str(images))
    (tmp_path / "placeholder").mkdir()
    assert resolve(recipe_file)[0].data.path == str(images)
    images.rmdir()
    assert resolve(recipe_file)[0].data.path == "placeholder"


def test_data_given_are_the_data_even_where_they_are_not_there(resolve, recipe_file, run_of, tmp_path):
    run_of(data=tmp_path)
    assert resolve(recipe_file, data="nope.zip")[0].data.path == "nope.zip"
    assert resolve(recipe_file, overrides=["data.path=nope.zip"])[0].data.path == "nope.zip"


def test_the_newest_run_of_this_recipe_is_found(resolve, recipe_file, run_of, tmp_path):
    assert resolve(recipe_file)[1] is None, "nothing to resume is a fresh start"
    mine = [run_of(), run_of()]
    run_of("big-tiny")
    run_of("tiny-images")  # and 00003-tiny-images-images looks like a run of `tiny`
    assert resolve(recipe_file)[1] == mine[1]
    assert find_run_dir(tmp_path / "runs", "tiny-images").name == "00003-tiny-images-images"


def test_the_recipe_may_stand_behind_resume(resolve, recipe_file, run_of):
    run_dir = run_of()
    assert resolve(None, resume=str(recipe_file))[1] == run_dir
    recipe, resume_from = resolve(None, resume=str(run_dir))
    assert (recipe.name, recipe.data.path, resume_from) == ("tiny", "images", run_dir)


def test_what_cannot_be_resumed_says_so(resolve, tmp_path):
    with pytest.raises(GanzooError, match="--resume needs a run folder"):
        resolve(None)
    with pytest.raises(GanzooError, match="a recipe is needed"):
        resolve(None, resume=None)
    with pytest.raises(CheckpointError, match="not a run folder"):
        resolve(None, resume=str(tmp_path))


@pytest.mark.parametrize("data", ["x" * 250, "猫" * 250, "a/b\\c:d*e"])
def test_any_data_name_gives_a_folder(tmp_path, data):
    run_dir = create_run_dir(tmp_path, "r" * 100, data)
    assert run_dir.is_dir() and run_dir.parent == tmp_path
