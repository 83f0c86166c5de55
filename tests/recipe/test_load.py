import re

import pytest
from pydantic import ValidationError

from ganzoo.errors import PluginError, RecipeError
from ganzoo.recipe import dump_recipe, load_recipe, parse_recipe


def problems(registry, path, *overrides):
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, registry, overrides)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def test_defaults_are_written_out(registry, recipe_file):
    recipe = load_recipe(recipe_file(), registry)
    assert recipe.name == "a"
    assert recipe.generator.args == {"z_dim": 8, "kernel": [1.0, 2.0, 1.0], "norm": "pixel", "slope": 0.2}
    assert recipe.train.ema_beta == 0.999
    with pytest.raises(ValidationError):
        recipe.seed = 3


def test_dump_reads_back_equal(registry, recipe_file):
    path = recipe_file(
        seed="7",
        growth="{name: steps, args: {lr: {4: 1e-3, default: 2e-3}}}",
        train="{total_kimg: 5, ema_kimg: 10, grid: [2, 3]}",
        data='{path: "no: \\u00e9", img_resolution: 16}',
    )
    recipe = load_recipe(path, registry)
    text = dump_recipe(recipe)
    assert parse_recipe(text, registry, filename="again") == recipe
    assert recipe.growth.args == {"lr": {4: 0.001, "default": 0.002}}
    assert dump_recipe(parse_recipe(text, registry, filename="again")) == text


def test_all_problems_are_told_at_once_with_their_places(registry, recipe_file):
    path = recipe_file(
        text="""\
seed: -1
data: {path: images, img_resolution: big, mirrr: true}
generator: {name: smal}
discriminator: {name: small, args: {width: 3}}
loss: {nam: small}
growth: {name: steps, args: {lr: {4: 0, 8: fast}, world_size: 2}}
train: {tick_kimg: 1e-3, keep_checkpoints: 0}
seed: 2
"""
    )
    expected = [
        r"a\.yaml:1:1: seed: must be at least 0, not -1",
        r"a\.yaml:2:22: data\.img_resolution: must be a whole number, not 'big'",
        r"a\.yaml:2:43: data\.mirrr: no such key; did you mean 'mirror'\?",
        r"a\.yaml:3:13: generator\.name: no generator is called 'smal'; installed: small; did you mean 'small'\?",
        r"a\.yaml:4:37: discriminator\.args\.width: no such key.*discriminator 'small' of small-gan",
        r"a\.yaml:5:1: loss\.name: is missing",
        r"a\.yaml:5:8: loss\.nam: no such key; did you mean 'name'\?",
        r"a\.yaml:6:35: growth\.args\.lr\.4: must be greater than 0, not 0",
        r"a\.yaml:6:41: growth\.args\.lr\.8: must be a number, not 'fast'",
        r"a\.yaml:6:51: growth\.args\.world_size: cannot be set here: it is the number of processes",
        r"a\.yaml:7:1: train\.total_kimg: is missing",
        r"a\.yaml:7:26: train\.keep_checkpoints: must be at least 1, not 0",
        r"a\.yaml:8:1: seed: is given twice",
    ]
    lines = problems(registry, path)
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.match(pattern, line), line


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("data", "{img_resolution: 16}", "give either `path`"),
        ("data", "{path: x, source: {name: faces}, img_resolution: 16}", "not both"),
        ("data", "{path: x, img_resolution: 16, background: blurple}", "is no colour"),
        ("data", "{path: '', img_resolution: 16}", "data.path: is empty; give a folder"),
        ("data", "{path: x, img_resolution: 16, img_channels: 2}", "must be 1, 3 or 4, not 2"),
        ("train", "{total_kimg: 5, ema_beta: 0.9, ema_kimg: 3}", "give one of"),
        ("train", "{total_kimg: .nan}", "train.total_kimg: must be"),
        ("train", "{total_kimg: .inf}", "train.total_kimg: must be"),
        ("train", "{total_kimg: 1e-4}", "train.total_kimg: must be at least 0.001"),
        ("train", "{total_kimg: yes}", "must be a number, not 'yes'"),
        ("train", "5", "train: must be a mapping, not 5"),
        ("train", "{total_kimg: 5, grid: [3]}", "must have at least 2 entries, not 1"),
        ("generator", "{name: small, args: {norm: batch}}", "must be 'pixel' or 'none', not 'batch'"),
        ("generator", "{name: small, args: {z_dim: 8.5}}", "must be a whole number"),
        ("generator", "{name: small, args: {z_dim: true}}", "must be a whole number, not true"),
        ("generator", "{name: small, args: [1]}", "generator.args: must be a mapping"),
        ("growth", "{name: steps, args: {lr: high}}", "must be a number or a mapping, not 'high'"),
        ("system", "{device: gpu}", "system.device: must match"),
        ("system", "{threads: 1000000}", "must be at most 1024"),
        ("system", "{threads: many}", "must be a whole number or 'auto', not 'many'"),
        ("recipe_version", "2", "must be 1, not 2"),
        ("name", "a/b", "cannot name a folder"),
        ("optimizer", "{name: sgd}", "must be 'adam' or 'rmsprop', not 'sgd'"),
        ("optimizer", "{name: rmsprop, args: {betas: [0, 0.9]}}", "no such key; there are: alpha, eps, momentum"),
        ("optimizer", "{args: {alpha: 0.9}}", "no such key; there are: betas, eps"),
        ("optimizer", "{name: rmsprop, args: {alpha: 1}}", "optimizer.args.alpha: must be less than 1, not 1"),
    ],
)
def test_one_wrong_thing(registry, recipe_file, section, value, message):
    lines = problems(registry, recipe_file(**{section: value}))
    assert len(lines) == 1
    assert message in lines[0]
    assert re.match(r"a\.yaml:\d+:\d+: ", lines[0])


def test_extends_merges_and_replaces_other_components(registry, recipe_file):
    recipe_file("base.yaml", seed="5", generator="{name: small, args: {z_dim: 3, slope: 0.5}}", name="called-base")
    child = recipe_file(
        "child.yaml", text="extends: base.yaml\ngenerator: {args: {z_dim: 4}}\ndata: {source: {name: faces}}\n"
    )
    recipe = load_recipe(child, registry)
    assert (recipe.name, recipe.seed) == ("child", 5)
    assert (recipe.generator.args["z_dim"], recipe.generator.args["slope"]) == (4, 0.5)
    assert recipe.data.path is None and recipe.data.source.name == "faces"

    other = recipe_file("other.yaml", text="extends: child.yaml\ngenerator: {name: smaller}\n")
    (line,) = problems(registry, other)
    assert line.startswith("other.yaml:2:13: generator.name: no generator is called 'smaller'")


def test_a_problem_in_an_extended_recipe_is_placed_there(registry, recipe_file):
    recipe_file("base.yaml", seed="-5")
    child = recipe_file("child.yaml", text="extends: base.yaml\ntrain: {total_kimg: no}\n")
    lines = problems(registry, child)
    assert [line.split(": ")[0] for line in lines] == ["base.yaml:7:1", "child.yaml:2:9"]


def test_circles_and_missing_bases_are_refused(registry, recipe_file):
    a = recipe_file("a.yaml", text="extends: b.yaml\n")
    recipe_file("b.yaml", text="extends: a.yaml\n")
    assert "circle: a.yaml -> b.yaml -> a.yaml" in problems(registry, a)[0]
    c = recipe_file("c.yaml", text="extends: nowhere.yaml\n")
    assert "c.yaml:1:1: extends: nowhere.yaml: no such recipe" in problems(registry, c)[0]
    with pytest.raises(RecipeError, match="only a file can extend"):
        parse_recipe("extends: a.yaml\n", registry, filename="metadata")


def test_set_overrides_with_the_same_parser(registry, recipe_file):
    recipe = load_recipe(
        recipe_file(growth="{name: steps, args: {lr: {4: 1e-3, default: 2e-3}}}"),
        registry,
        ["train.total_kimg=1e-2", "growth.args.lr.4=0.5", 'data.path="a: b"', "train.grid=[1, 2]", "data.path='p=q'"],
    )
    assert recipe.train.total_kimg == 0.01
    assert recipe.growth.args["lr"] == {4: 0.5, "default": 0.002}
    assert recipe.data.path == "p=q"
    assert recipe.train.grid == [1, 2]


def test_set_reaches_into_lists_by_position(registry, recipe_file):
    path = recipe_file(train="{total_kimg: 1, grid: [3, 5]}")
    assert load_recipe(path, registry, ["train.grid.1=7"]).train.grid == [3, 7]
    assert load_recipe(path, registry, ["train.grid.0=2", "train.grid.1=7"]).train.grid == [2, 7]
    (line,) = problems(registry, path, "train.grid.0=no")
    assert line.startswith("--set train.grid.0=no: train.grid.0: must be")
    for part in ("2", "-1", "first"):
        (line,) = problems(registry, path, f"train.grid.{part}=7")
        assert line.startswith(
            f"--set train.grid.{part}=7: train.grid is a list with the positions 0 to 1, and has no {part};"
        )
    (line,) = problems(registry, path, "regularizers=[]", "regularizers.0.args.gamma=1")
    assert line.startswith("--set regularizers.0.args.gamma=1: regularizers is an empty list, and has no 0;")


def test_set_reaches_into_what_is_given_by_its_name_alone(registry, recipe_file):
    path = recipe_file(eval="{metrics: [fid, kid]}")
    (fid, kid) = load_recipe(path, registry, ["eval.metrics.1.args.subset_size=50"]).eval.metrics
    assert (fid.name, kid.name, kid.args["subset_size"]) == ("fid", "kid", 50)
    (line,) = problems(registry, path, "eval.metrics.1.args.subset_size=no")
    assert line.startswith("--set eval.metrics.1.args.subset_size=no: eval.metrics.1.args.subset_size: must be")


def test_a_recipe_changes_one_of_a_list_that_it_extends(registry, recipe_file):
    recipe_file("base.yaml", train="{total_kimg: 1, grid: [3, 5]}")
    child = recipe_file("child.yaml", text="extends: base.yaml\ntrain: {grid: {1: 7}}\n")
    assert load_recipe(child, registry).train.grid == [3, 7]
    child.write_text("extends: base.yaml\ntrain: {grid: {2: 7}}\n")
    assert "child.yaml:2:9: train.grid: must be" in problems(registry, child)[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.total_kmg=3", "--set train.total_kmg=3: train.total_kmg: no such key; did you mean 'total_kimg'?"),
        ("train.total_kimg=lots", "--set train.total_kimg=lots: train.total_kimg: must be a number, not 'lots'"),
        ("generator.args.width=3", "generator.args.width: no such key"),
        ("train.total_kimg", "must be key=value"),
        ("train.grid=[1,", "--set train.grid=[1,:1:4: no valid YAML"),
        ("seed=*x", "no valid YAML"),
    ],
)
def test_a_wrong_override_says_so(registry, recipe_file, override, message):
    assert any(message in line for line in problems(registry, recipe_file(), override))


def test_data_path_replaces_a_source(registry, recipe_file):
    path = recipe_file(data="{source: {name: faces}, img_resolution: 16}")
    recipe = load_recipe(path, registry, ['data.path="photos"'])
    assert recipe.data.path == "photos" and recipe.data.source is None


def test_files_that_are_no_recipes(registry, tmp_path):
    (tmp_path / "other.yaml").write_text("seed: 1\n")
    with pytest.raises(RecipeError, match=r"missing\.yaml: no such recipe; there are: .*other\.yaml"):
        load_recipe(tmp_path / "missing.yaml", registry)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not a text file"):
        load_recipe(tmp_path / "binary.yaml", registry)
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path, registry)


def test_a_constructor_that_cannot_be_checked_names_its_owner(registry):
    import ganzoo
    from ganzoo.recipe.signature import args_model
    from ganzoo.registry import Entry, Owner

    class Strange(ganzoo.Loss):
        def __init__(self, *, other: "NoSuchType" = 1) -> None:  # noqa: F821
            pass

        def d_loss(self, G, D, batch): ...

        def g_loss(self, G, D, batch): ...

    with pytest.raises(PluginError, match="loss 'strange' of odd-gan 3: its constructor's annotations"):
        args_model(Entry("loss", "strange", Strange, Owner("odd-gan", "3")))


@pytest.mark.parametrize("key", ["²", "--4"])
def test_keys_that_look_like_numbers_are_text(registry, recipe_file, key):
    lines = problems(registry, recipe_file(), f"growth.args.lr.{key}=1")
    assert any(f"growth.args.lr.{key}: " in line for line in lines)
    assert problems(registry, recipe_file(text=f'"1{key}2": 1\n'))


@pytest.mark.parametrize("base", [r"a\0b", "a" * 5000, "."])
def test_extending_what_is_no_file_is_a_problem(registry, recipe_file, base):
    assert "no such recipe" in problems(registry, recipe_file(text=f'extends: "{base}"\n'))[0]
