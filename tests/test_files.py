"""Files appear whole or not at all, and a system that refuses to write is an error that names the file."""

import os

import pytest

from ganzoo.errors import DataError, GanzooError
from ganzoo.files import append_line, atomic, write_text


def test_a_file_takes_the_place_of_the_old_one_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "one")
    write_text(path, "zwölf")
    assert path.read_bytes() == "zwölf".encode()
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("durable", [False, True])
def test_what_fails_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path, durable):
    path = tmp_path / "a.png"
    path.write_text("old")
    with pytest.raises(KeyError), atomic(path, durable=durable) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".png"
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.png"]


def test_a_refusing_system_is_an_error_of_the_kind_asked_for(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(DataError, match=r"a\.txt: cannot be written: No space left\. Free some space"):  # noqa: SIM117
        with atomic(path, error=DataError) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left")
    assert not list(tmp_path.iterdir())


def test_lines_are_added(tmp_path):
    path = tmp_path / "log.txt"
    for line in ("one", "zwölf", "\udcff"):  # the last: a byte of a file name that is no text
        append_line(path, line)
    assert path.read_text(encoding="utf-8") == "one\nzwölf\n\\udcff\n"
    with pytest.raises(GanzooError, match="cannot be written"):
        append_line(tmp_path, "a folder takes no lines")
