import pytest

from ganzoo.errors import RecipeError
from ganzoo.recipe import strict_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-8", 1e-8),
        (".5", 0.5),
        ("-3", -3),
        ("0x10", 16),
        ("0o17", 15),
        ("017", 17),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1_000", "1_000"),
        ("true", True),
        ("", None),
        ("~", None),
        (".inf", float("inf")),
        ("[0, 0.99]", [0, 0.99]),
        ('"7"', "7"),
        ("{4: 64, default: 16}", {4: 64, "default": 16}),
    ],
)
def test_scalars_are_read_as_yaml_1_2_says(text, value):
    document = strict_yaml.read(f"key: {text}", "a.yaml")
    assert document.problems == []
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)


@pytest.mark.parametrize(
    "value", ["1e-3", "no", "on", "~", "1:30", "", "null", "0o17", "#x", "- y", "<<", "é", "a: b", " c "]
)
def test_every_text_survives_a_round_trip(value):
    data = {"key": value, "number": 1e-8, "table": {4: 1, "default": [1.0, None, True]}}
    assert strict_yaml.read(strict_yaml.dump(data), "a.yaml").data == data


def test_places_count_from_one_and_point_at_keys():
    document = strict_yaml.read("seed: 1\ntrain:\n  total_kimg: 5\n", "a.yaml")
    assert document.place(("train", "total_kimg")) == "a.yaml:3:3"
    assert document.place(("train", "missing")) == "a.yaml:2:1"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\na: 2\n", "a.yaml:2:1", "given twice"),
        ("a: &x 1\nb: *x\n", "a.yaml:1:4", "anchors"),
        ("base: &b {c: 1}\nd: {<<: *b}\n", "a.yaml:2:5", "merge keys"),
        ("a: !!python/object/apply:os.system [true]\n", "a.yaml:1:4", "tags"),
        ("a: !custom x\n", "a.yaml:1:4", "tags"),
        ("[1, 2]: x\n", "a.yaml:1:1", "cannot be a key"),
        ("1.5: x\n", "a.yaml:1:1", "cannot be a key"),
        ("a: 9223372036854775808\n", "a.yaml:1:4", "64 bits"),
        ("a: 0x8000000000000000\n", "a.yaml:1:4", "64 bits"),
        (f"a: {'[' * 60}{']' * 60}\n", "a.yaml:1:54", "nested more than 50 deep"),
        (f"a: {'9' * 40}\n", "a.yaml:1:4", "64 bits"),
    ],
)
def test_what_hides_meaning_is_refused(text, place, message):
    problems = strict_yaml.read(text, "a.yaml").problems
    assert [(p, message in m) for p, _, m in problems] == [(place, True)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1,\n", "a.yaml:2:1: no valid YAML"),
        ("a: b: c\n", "a.yaml:1:5: no valid YAML"),
        ("- 1\n", "a.yaml:1:1: a recipe is a mapping"),
        ("", "the recipe is empty"),
        ("a: \x00", "no valid YAML"),
        ("[" * 5000, "YAML|deeply"),
        ("x" * 250_001, "more than a recipe can need"),
    ],
)
def test_what_is_no_recipe_says_so(text, message):
    with pytest.raises(RecipeError, match=message):
        strict_yaml.read(text, "a.yaml")


def test_a_bomb_of_aliases_is_refused_before_it_grows():
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 30))
    document = strict_yaml.read(f"l0: &l0 x\n{levels}\n", "a.yaml")
    assert document.problems
