"""The `eval` section: names or components, checked like every other."""

import pytest

from ganzoo.errors import RecipeError
from ganzoo.plugins import make_plugin_manager
from ganzoo.recipe import dump_recipe, parse_recipe

RECIPE = """
name: measured
data: {source: {name: faces}, img_resolution: 32}
generator: {name: none}
discriminator: {name: none}
loss: {name: none}
growth: {name: fixed, args: {batch_size: 8}}
train: {total_kimg: 1}
"""


@pytest.fixture(scope="module")
def registry():
    return make_plugin_manager({}).registry


@pytest.fixture
def parse(registry, monkeypatch):
    """Of the `eval` section alone: the networks come from plugins that are not here."""
    from ganzoo.recipe import load

    monkeypatch.setattr(load, "COMPONENTS", {("growth",): "growth"})

    def parse(section):
        return parse_recipe(RECIPE + f"eval: {section}\n", registry, filename="r.yaml")

    return parse


def test_names_and_components(parse, registry):
    recipe = parse("{metrics: [fid, {name: kid, args: {subsets: 7}}], num: 5000}")
    assert [metric.name for metric in recipe.eval.metrics] == ["fid", "kid"]
    assert recipe.eval.metrics[1].args == {"subsets": 7, "subset_size": 1000}  # defaults are in the record
    assert parse_recipe(dump_recipe(recipe), registry, filename="again") == recipe
    assert parse("null").eval is None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{metrics: [fit]}", r"r.yaml:9:18: eval.metrics.0: no metric is called 'fit'.*did you mean 'fid'"),
        ("{metrics: [{name: fit}]}", r"eval.metrics.0.name: no metric is called 'fit'"),
        ("{metrics: [{name: kid, args: {subset: 3}}]}", r"eval.metrics.0.args.subset.*did you mean 'subsets'"),
        ("{metrics: [{name: kid, args: {subsets: 0}}]}", r"eval.metrics.0.args.subsets: must be at least 1, not 0"),
        ("{metrics: [{name: kid, args: {num: 3}}]}", r"args.num: cannot be set here: it is the number of images"),
        ("{metrics: []}", r"eval.metrics.*at least 1"),
        ("{metrics: fid}", r"eval.metrics.*list"),
        ("{metrics: [3]}", r"eval.metrics.0"),
        ("{}", r"eval.metrics.*required|eval.*metrics"),
        ("{metrics: [fid], extractor: inceptoin}", r"eval.extractor: no extractor is called 'inceptoin'"),
        ("{metrics: [fid], every_kimg: 0}", r"eval.every_kimg.*greater than 0"),
        ("{metrics: [fid], every: 3}", r"eval.every.*did you mean 'every_kimg'"),
        ("{metrics: [prc], best: fid}", r"eval.best: 'fid' is none of the numbers.*precision, recall, f_score"),
        ("{metrics: [prc, 3], best: fid}", r"eval.metrics.1"),
        ("{metrics: [kid, fid, {name: kid}]}", r"eval.metrics.2: 'kid' gives 'kid', as 'kid' before it does; keep one"),
    ],
)
def test_mistakes_have_a_place_and_a_way_out(parse, section, message):
    with pytest.raises(RecipeError, match=message):
        parse(section)


def test_best_may_be_any_number_of_any_metric(parse):
    assert parse("{metrics: [fid, prc], best: recall}").eval.best == "recall"
