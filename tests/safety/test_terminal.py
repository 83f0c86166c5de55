"""Names from strangers do not act on the terminal, and commands print through one function."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from crafted import RECIPE, make_snapshot
from PIL import Image
from test_source import FILES, ROOT

from ganzoo.console import echo
from ganzoo.errors import one_line, printable

NASTY = "\x1b]0;owned\x07\x9b2J\x7f\u202egnp"


def harmless(text: str) -> bool:
    return not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in text)


def test_control_characters_are_written_out():
    assert not harmless(NASTY)
    assert printable(NASTY) == r"\x1b]0;owned\x07\u009b2J\u007f\u202egnp"
    assert printable("a\tb\nc é 漢 👩‍🚀 ±") == "a\tb\nc é 漢 👩‍🚀 ±"
    assert one_line("a\nerror: b\t") == r"a\nerror: b\t"


def test_what_json_escapes_stays_json(capsys):
    content = {"name": NASTY, "é": [1.5, None]}
    echo(json.dumps(content))
    printed = capsys.readouterr().out
    assert harmless(printed)
    assert json.loads(printed) == content


def test_styles_are_ours_and_the_message_is_not(capsys):
    echo("\x1b[31mred", err=True, nl=False)
    assert capsys.readouterr().err == r"\x1b[31mred"


@pytest.fixture
def pictures(here):
    """A folder with classes and files of nasty names."""
    for i, name in enumerate((NASTY, "a\nerror: forged")):
        (here / "set" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(here / "set" / name / f"{NASTY}.png", "png")
    return here / "set"


def test_classes_and_files(pictures, said, refused):
    report = said("data", "inspect", pictures)
    assert harmless(report)
    assert r"a\nerror: forged" in report
    next(pictures.rglob("*.png")).write_bytes(b"x")
    for args in (("inspect", pictures), ("pack", pictures, "packed", "--resolution", "8")):
        result = (said if args[0] == "inspect" else refused)("data", *args)
        assert harmless(result)
        assert "\nerror: forged" not in result
    assert json.loads(said("data", "inspect", pictures, "--json").partition("\ncontact")[0])


@pytest.mark.parametrize(
    "args",
    [
        (NASTY,),
        ("run", NASTY),
        ("run", "--resume", NASTY),
        ("run", "--kimg", NASTY),
        (f"--{NASTY}",),
        ("recipe", "check", NASTY),
        ("recipe", NASTY),
        ("sample", NASTY),
        ("sample", "x", "y", NASTY),
        ("walk", "x", "--space", NASTY),
        ("eval", NASTY, "--fid"),
        ("compare", NASTY, NASTY),
        ("data", "inspect", NASTY),
        ("mix", NASTY, "--rows", "0", "--cols", "1", "--styles", "0"),
        ("translate", NASTY, "--input", NASTY),
    ],
)
def test_mistakes_on_the_command_line(refused, args):
    assert harmless(refused(*args))


def test_snapshots(here, said, refused):
    folder = here / NASTY
    path = make_snapshot(folder, recipe=RECIPE, c_dim=2, class_names=json.dumps([NASTY, "b"]))
    assert harmless(said("sample", path, "--seeds", "0", "--device", "cpu", "--outdir", here / f"out{NASTY}"))
    assert harmless(said("export-dataset", path, "--num", "2", "--device", "cpu", "--out", here / f"out{NASTY}.zip"))
    assert harmless(said("data", "inspect", here / f"out{NASTY}.zip"))
    assert harmless(refused("sample", path, "--class", "none"))


def test_every_command_prints_through_one_function():
    """``ganzoo.console.echo``, the Reporter, or a rich table of printable cells: nothing prints by itself."""
    found = []
    for file in FILES:
        path = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write"):
                    found.append(f"{path}:{node.lineno}: {called}")
    assert [at for at in found if not at.startswith("ganzoo/console.py:")] == []
    assert any(at.startswith("ganzoo/console.py:") for at in found)


def test_nothing_writes_web_pages():
    """Names of classes and files would have to be escaped there: whoever adds one meets this test."""
    tags = ("<html", "<table", "<td", "<svg", "<div", "<img")
    for file in FILES:
        for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not any(tag in node.value.lower() for tag in tags), f"{file}:{node.lineno}"
