import json
import subprocess
import sys
from importlib import metadata

import pytest

import ganzoo
from ganzoo import plugins
from ganzoo.errors import PluginError, RegistryError
from ganzoo.plugins import Candidate, load_plugins, make_plugin_manager
from ganzoo.registry import Owner, Registry


class Loss(ganzoo.Loss):
    def d_loss(self, G, D, batch): ...

    def g_loss(self, G, D, batch): ...


def registers(name, cls=Loss, hook="ganzoo_register_losses"):
    """A plugin that registers one class."""

    def implementation(register):
        register(name, cls)

    implementation.__name__ = hook
    return type("Plugin", (), {hook: staticmethod(ganzoo.hookimpl(implementation))})


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these plugins are installed: (name, distribution, loader)."""

    def install(*found):
        candidates = [Candidate(name, Owner(dist, "1.2"), load) for name, dist, load in found]
        monkeypatch.setattr(plugins, "installed", lambda: candidates)

    return install


def broken():
    raise ImportError("no module named 'left_out'")


def leaves():
    raise SystemExit("a script, not a plugin")


def strange():
    class Strange(Loss):
        def __init__(self, *, other: "NoSuchType" = 1) -> None: ...  # noqa: F821

    return registers("strange", Strange)


def test_a_broken_plugin_is_named_and_the_others_work(installed):
    installed(("bad", "ganzoo-bad", broken), ("good", "ganzoo-good", lambda: registers("fine")))
    loaded = load_plugins()
    assert [p.name for p in loaded.plugins] == ["core", "good"]
    assert str(loaded.failures[0]) == ("ganzoo-bad 1.2 (entry point 'bad'): ImportError: no module named 'left_out'")
    assert loaded.registry.get("loss", "fine").owner == Owner("ganzoo-good", "1.2")
    with pytest.raises(RegistryError, match=r"no loss is called 'lost'.*ganzoo-bad 1\.2"):
        loaded.registry.get("loss", "lost")


@pytest.mark.parametrize(("load", "reason"), [(leaves, "SystemExit"), (strange, "annotations cannot be checked")])
def test_no_plugin_ends_the_program(installed, load, reason):
    installed(("bad", "ganzoo-bad", load), ("good", "ganzoo-good", lambda: registers("fine")))
    loaded = load_plugins()
    assert [p.name for p in loaded.plugins] == ["core", "good"]
    assert reason in loaded.failures[0].reason


def test_core_works_without_any_plugin(installed):
    installed()
    registry = load_plugins().registry
    assert registry.names("growth") == ["fixed"]
    assert registry.names("dataset") == ["faces", "folder", "packed", "zip"]
    assert {entry.owner.dist for entry in registry.entries()} == {"ganzoo"}


def test_one_name_has_one_owner(installed):
    installed(("a", "ganzoo-a", lambda: registers("same")), ("b", "ganzoo-b", lambda: registers("same")))
    loaded = load_plugins()
    (failure,) = loaded.failures
    assert failure.owner.dist == "ganzoo-b"
    assert "loss 'same' of ganzoo-b 1.2 is already registered by ganzoo-a 1.2" in failure.reason


def test_one_entry_point_has_one_owner(installed):
    installed(("same", "ganzoo-a", lambda: registers("x")), ("same", "ganzoo-b", lambda: registers("y")))
    loaded = load_plugins()
    assert [p.name for p in loaded.plugins] == ["core"]
    assert len(loaded.failures) == 2
    assert "ganzoo-a 1.2 and ganzoo-b 1.2" in loaded.failures[0].reason


class NoDLoss(ganzoo.Loss):
    def g_loss(self, G, D, batch): ...


class Swallows(Loss):
    def __init__(self, *, weight: float = 1.0, **kwargs: float) -> None: ...


class Positional(Loss):
    def __init__(self, weight: float = 1.0) -> None: ...


class Untyped(Loss):
    def __init__(self, *, weight=1.0) -> None: ...


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (
            registers("x", hook="ganzoo_register_loses"),
            "no hook 'ganzoo_register_loses'.*did you mean",
        ),
        (registers("x", NoDLoss), r"loss 'x' \(.*NoDLoss\) misses d_loss"),
        (registers("x", Swallows), r"constructor argument \*\*kwargs is not keyword-only"),
        (registers("x", Positional), "constructor argument weight is not keyword-only"),
        (registers("x", Untyped), "'weight' has no type annotation"),
        (registers("x", dict), "no subclass of ganzoo.Loss"),
        (registers("x", Loss()), "no subclass of ganzoo.Loss"),
        (registers("Not_Kebab"), "kebab-case"),
        (registers(3), "kebab-case"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_refused(plugin, message):
    with pytest.raises(PluginError, match=message):
        make_plugin_manager({"wrong": plugin})


def test_a_hook_with_wrong_arguments_is_refused():
    class Plugin:
        @ganzoo.hookimpl
        def ganzoo_register_losses(registry):
            raise AssertionError("must not be called")

    with pytest.raises(PluginError, match="registry"):
        make_plugin_manager({"wrong": Plugin})


def test_a_hook_without_its_mark_is_told():
    class Plugin:
        def ganzoo_register_losses(register):
            register("never", Loss)

    with pytest.raises(PluginError, match="ganzoo_register_losses is not marked with"):
        make_plugin_manager({"wrong": Plugin})


def test_one_plugin_cannot_take_a_name_twice():
    class Plugin:
        @ganzoo.hookimpl
        def ganzoo_register_losses(register):
            register("twice", Loss)
            register("twice", Loss)

    with pytest.raises(PluginError, match="two owners of one name"):
        make_plugin_manager({"wrong": Plugin})


def test_the_environment_limits_loading(installed, monkeypatch):
    installed(("a", "ganzoo-a", lambda: registers("one")), ("b", "ganzoo-b", lambda: registers("two")))
    monkeypatch.setenv("GANZOO_LOAD_PLUGINS", "b")
    assert load_plugins().registry.names("loss") == ["two"]
    monkeypatch.setenv("GANZOO_LOAD_PLUGINS", "")
    assert load_plugins().registry.names("loss") == []
    monkeypatch.setenv("GANZOO_LOAD_PLUGINS", "c")
    with pytest.raises(PluginError, match="names 'c', which is not installed; installed: a, b"):
        load_plugins()


def test_installed_plugins_are_entry_points_of_distributions():
    if "ganzoo-progan" not in {dist.name for dist in metadata.distributions()}:
        pytest.skip("ganzoo-progan is not installed")
    assert ("progan", "ganzoo-progan") in [(c.name, c.owner.dist) for c in plugins.installed()]


def test_the_registry_suggests_the_nearest_name():
    registry = Registry()
    registry.add("loss", "wgan-gp", Loss, Owner("a", "1"))
    with pytest.raises(RegistryError, match=r"installed: wgan-gp; did you mean 'wgan-gp'\?"):
        registry.get("loss", "wgan_gp")
    with pytest.raises(RegistryError, match="no growth is called 'wgan-gp'; installed: none; is the plugin"):
        registry.get("growth", "wgan-gp")


def test_core_imports_no_plugin():
    """No file of core imports the package of a plugin of this repository."""
    import pathlib

    source = pathlib.Path(ganzoo.__file__).parent
    own = [p.name.replace("-", "_") for p in (source.parent / "plugins").glob("ganzoo-*")]
    for path in source.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [name for name in own if f"import {name}" in text or f"from {name}" in text], path


def run(*args, **env):
    import os

    return subprocess.run(
        [sys.executable, "-m", "ganzoo", *args],
        capture_output=True,
        encoding=env.get("PYTHONIOENCODING", "utf-8"),
        env={**os.environ, **env},
        timeout=120,
    )


def test_plugins_command():
    listed = json.loads(run("plugins", "--json", GANZOO_LOAD_PLUGINS="").stdout)
    assert listed["failures"] == []
    assert listed["plugins"][0]["dist"] == "ganzoo"
    assert {"kind": "growth", "name": "fixed"} in listed["plugins"][0]["components"]
    shown = run("plugins", GANZOO_LOAD_PLUGINS="").stdout
    assert "growth         fixed" in shown


def test_help_imports_no_torch():
    code = (
        "import sys, click.testing, ganzoo.cli as c;"
        "r = click.testing.CliRunner().invoke(c.main, ['--help']);"
        "assert r.exit_code == 0 and 'sample' in r.output, r.output;"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_mistakes_exit_with_2_and_without_traceback(tmp_path):
    for args in (["run", str(tmp_path / "none.yaml")], ["rum"], ["run", "--bad-flag"], ["run"]):
        result = run(*args)
        assert result.returncode == 2, args
        assert "Traceback" not in result.stderr and result.stderr
    assert "did you mean 'run'?" in run("rum").stderr


def test_names_and_keys_cannot_act_on_the_terminal(tmp_path):
    recipe = tmp_path / "a.yaml"
    recipe.write_text('"\\e]0;owned\\a": 1\n')
    result = run("recipe", "check", str(recipe))
    assert result.returncode == 2
    assert "\x1b" not in result.stderr and r"\x1b]0;owned\x07: no such key" in result.stderr


def test_a_console_without_a_character_is_no_reason_to_fail():
    result = run("recipe", "docs", GANZOO_LOAD_PLUGINS="", PYTHONIOENCODING="latin-1")
    assert result.returncode == 0, result.stderr
    assert r"\u2265" in result.stdout
