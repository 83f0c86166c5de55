"""Recipes and --set from strangers."""

from __future__ import annotations

import time

import pytest
from crafted import RECIPE


@pytest.fixture
def check(here, refused):
    """``check(text, *args)``: what ``ganzoo recipe check`` says of a bad recipe."""

    def call(text: str, *args: str) -> str:
        (here / "bad.yaml").write_text(text)
        return refused("recipe", "check", "bad.yaml", *args)

    return call


def test_the_recipe_that_the_others_spoil_is_good(here, said):
    (here / "good.yaml").write_text(RECIPE)
    assert said("recipe", "check", "good.yaml") == "good.yaml: ok\n"


def test_a_bomb_of_aliases(check):
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 30))
    started = time.monotonic()
    assert "anchors and aliases" in check(f"l0: &l0 x\n{levels}\n")
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 100_000, "nested too deeply|no valid YAML"),
        ("a: " + "[" * 200 + "]" * 200, "nested more than 50 deep"),
        ("a: " + "{b: " * 200 + "1" + "}" * 200, "nested more than 50 deep"),
        (RECIPE + "seed: " + "9" * 5000, "does not fit into 64 bits"),
        (RECIPE + "seed: 9223372036854775808", "does not fit into 64 bits"),
        (RECIPE.replace("0.01", "1e308"), "at most"),
        (RECIPE.replace("0.01", ".inf"), "finite number"),
        (RECIPE.replace("hidden_dim: 6}}\ndisc", "hidden_dim: 4611686018427387904}}\ndisc"), "too large to be made"),
        (RECIPE.replace("hidden_dim: 6", "hidden_dim: 9223372036854775807", 1), "too large to be made"),
        (RECIPE.replace("hidden_dim: 6", "hidden_dim: 6, hidden_layers: 165859"), "at most 1000"),
        (RECIPE.replace("batch_size: 4", "batch_size: 4, decay_from_kimg: 1.0e+308, decay_to_kimg: 1.5e+308"), "fixed"),
        (RECIPE + "".join(f"key{i}: 1\n" for i in range(5000)), "... and "),
        (RECIPE + f"? {'1' * 5000}\n: 1\n", "64 bits|cannot be a key"),
        (RECIPE + f"? '{'1' * 5000}'\n: 1\n? '{'2' * 5000}'\n: 1\n", "no such key"),
        (RECIPE + "x" * 250_000, "more than a recipe can need"),
        (RECIPE + "extends: /dev/zero\n", "no such recipe"),
        (RECIPE.replace("name: mlp", "name: os.system"), "no generator is called 'os.system'"),
        (RECIPE.replace("name: mlp", "name: !!python/name:os.system x"), "tags"),
        ("a: !!python/object/apply:os.system ['touch pwned']\n", "tags"),
        ("!!python/object:os.system {a: 1}\n", "tags"),
        ("name: ../../outside\n", "cannot name a folder"),
        ("name: \"\\e]0;owned\\a\"\n", r"\x1b]0;owned"),
        ("\"\\e[2J\": 1\n", r"\x1b[2J"),
    ],
)  # fmt: skip
def test_hostile_recipes_are_refused(check, here, text, message):
    said = check(text)
    assert any(part in said for part in message.split("|")), said[:2000]
    assert "\x1b" not in said
    assert len(said) < 100_000
    assert [path.name for path in here.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=" + "9" * 5000, "does not fit into 64 bits"),
        ("1" * 5000 + "=1", "no such key"),
        ("a." * 5000 + "b=1", "keys in each other"),
        ("seed=" + "[" * 100_000, "nested too deeply"),
        ("generator.args.z_dim=!!python/name:os.system", "tags"),
        ("generator.args.\x1b[2J=1", "\\x1b[2J"),
        ("train.total_kimg=1e999", "finite number"),
    ],
)
def test_hostile_overrides_are_refused(here, refused, override, message):
    (here / "good.yaml").write_text(RECIPE)
    said = refused("recipe", "check", "good.yaml", "--set", override)
    assert message in said
    assert "\x1b" not in said


def test_what_could_not_be_read_is_said_once(here, refused):
    (here / "good.yaml").write_text(RECIPE)
    said = refused("recipe", "check", "good.yaml", "--set", f"generator.args.z_dim={'9' * 23}")
    assert "64 bits" in said and "not 0" not in said
