"""Commands that plugins bring: listed, run, and left out without harm to the others."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import ganzoo
from ganzoo import plugins
from ganzoo.cli import main
from ganzoo.errors import GanzooError
from ganzoo.plugins import ENVIRONMENT, Candidate, load_plugins
from ganzoo.registry import Owner


@click.command()
@click.argument("who")
def greet(who: str) -> None:
    """Say hello.

    And nothing else.
    """
    if who == "nobody":
        raise GanzooError("there is \x1b nobody to greet")
    click.echo(f"hello {who}")


def brings(name="greet", command=greet):
    """A plugin with one command."""

    class Plugin:
        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_register_commands(register):
            register(name, command)

    return Plugin


def broken():
    raise ImportError("no module named 'left_out'")


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these plugins are installed, by entry point and distribution: name=loader."""

    def install(**loaders):
        candidates = [Candidate(name, Owner(f"ganzoo-{name}", "1.2"), load) for name, load in loaders.items()]
        monkeypatch.setattr(plugins, "installed", lambda: candidates)
        monkeypatch.delenv(ENVIRONMENT, raising=False)

    return install


def run(*arguments):
    """(exit code, output in which runs of white space are one space)."""
    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_a_command_is_listed_with_its_distribution_and_runs(installed):
    installed(good=brings)
    code, output = run("--help")
    assert code == 0 and "Commands of plugins (ganzoo-good): greet Say hello." in output and "Left out" not in output
    assert run("greet", "you") == (0, "hello you")
    assert "And nothing else." in run("greet", "--help")[1]


def test_a_mistake_in_a_plugins_command_exits_with_2(installed):
    installed(good=brings)
    assert run("greet", "nobody") == (2, r"error: there is \x1b nobody to greet")
    code, output = run("greet")
    assert code == 2 and "Missing argument 'WHO'" in output


def test_a_command_is_suggested(installed):
    installed(good=brings)
    code, output = run("great")
    assert code == 2 and "no such command 'great'; did you mean 'greet'?" in output
    assert "there are: run, sample" in run("xyz")[1] and "doctor, greet" in run("xyz")[1]


def test_without_commands_help_has_no_such_section(installed):
    installed()
    assert "Commands of plugins" not in run("--help")[1]


def test_a_broken_plugin_is_named_and_the_others_work(installed):
    installed(bad=broken, good=brings)
    code, output = run("--help")
    assert code == 0 and "greet Say hello." in output
    reason = "ganzoo-bad 1.2 (entry point 'bad'): ImportError: no module named 'left_out'"
    assert f"Left out: {reason}" in output
    assert run("greet", "you") == (0, "hello you")
    code, output = run("lost")
    assert code == 2 and f"of a plugin that failed to load: {reason}" in output


def misspelled():
    class Plugin:
        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_register_command(register):
            register("greet", greet)

    return Plugin


def ends_the_program():
    class Plugin:
        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_register_commands(register):
            raise SystemExit(0)

    return Plugin


def twice():
    class Plugin:
        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_register_commands(register):
            register("greet", greet)
            register("greet", greet)

    return Plugin


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (misspelled, "there is no hook 'ganzoo_register_command'"),
        (ends_the_program, "SystemExit"),
        (twice, "registers two commands 'greet'"),
        (lambda: brings("Greet_Me"), "names are kebab-case, such as 'mix'"),
        (lambda: brings("greet", print), "which is no click.Command"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_left_out(installed, load, reason):
    installed(bad=load, good=lambda: brings("other"))
    code, output = run("--help")
    assert code == 0 and reason in output and "ganzoo-bad 1.2" in output
    assert run("other", "you") == (0, "hello you")


def test_core_keeps_its_names(installed):
    installed(bad=lambda: brings("sample"))
    code, output = run("--help")
    assert code == 0 and "Commands of plugins" not in output
    assert f"command 'sample' of ganzoo-bad 1.2 is also one of ganzoo {ganzoo.__version__}" in output
    assert "Make images from SNAPSHOT" in run("sample", "--help")[1]


def test_a_name_of_two_plugins_is_neithers(installed):
    installed(a=brings, b=brings, c=lambda: brings("other"))
    message = "command 'greet' of ganzoo-b 1.2 is also one of ganzoo-a 1.2: two owners of one name"
    code, output = run("--help")
    assert code == 0 and message in output and "greet Say hello." not in output
    code, output = run("greet", "you")
    assert code == 2 and message in output
    assert run("other", "you") == (0, "hello you")


def test_only_chosen_plugins_bring_commands(installed, monkeypatch):
    installed(a=brings, b=brings)
    monkeypatch.setenv(ENVIRONMENT, "b")
    assert run("greet", "you") == (0, "hello you")
    monkeypatch.setenv(ENVIRONMENT, "")
    assert run("greet", "you")[0] == 2
    monkeypatch.setenv(ENVIRONMENT, "c")
    code, output = run("--help")
    assert code == 0 and "names 'c', which is not installed; installed: a, b" in output
    code, output = run("greet", "you")
    assert code == 2 and "names 'c', which is not installed" in output


def test_cores_commands_do_not_wait_for_plugins(installed):
    def load():
        raise AssertionError("was loaded")

    installed(slow=load)
    assert run("sample", "--help")[0] == 0


def test_a_plugin_with_commands_loads_as_others_do(installed):
    installed(good=brings)
    loaded = load_plugins()
    assert not loaded.failures and loaded.plugins[1].hooks == ["ganzoo_register_commands"]


def test_listing_commands_loads_no_components():
    code = (
        "import sys, click, ganzoo\n"
        "from ganzoo import plugins\n"
        "from ganzoo.registry import Owner\n"
        "class Plugin:\n"
        "    @staticmethod\n"
        "    @ganzoo.hookimpl\n"
        "    def ganzoo_register_losses(register): raise AssertionError('was asked')\n"
        "    @staticmethod\n"
        "    @ganzoo.hookimpl\n"
        "    def ganzoo_register_commands(register): register('greet', click.Command('greet', help='Hello.'))\n"
        "plugins.installed = lambda: [plugins.Candidate('a', Owner('a', '1'), lambda: Plugin)]\n"
        "import click.testing, ganzoo.cli as c\n"
        "r = click.testing.CliRunner().invoke(c.main, ['--help'])\n"
        "assert r.exit_code == 0 and 'Commands of plugins (a):' in r.output and 'greet  Hello.' in r.output, r.output\n"
        "assert 'was asked' not in r.output, r.output\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_plugins_lists_commands_and_observers(installed):
    class Watcher:
        @staticmethod
        @ganzoo.hookimpl
        def ganzoo_tick(record):
            pass

    installed(good=brings, other=lambda: brings("walk"), watcher=lambda: Watcher)
    code, output = run("plugins")
    assert code == 0 and "ganzoo-good 1.2 (good) command greet" in output
    assert "ganzoo-watcher 1.2 (watcher) observer ganzoo_tick" in output
    assert "left out: command 'walk' of ganzoo-other 1.2 is also one of ganzoo" in output
    assert '"commands": [ "greet" ]' in run("plugins", "--json")[1]
