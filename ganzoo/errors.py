"""The errors that a user can cause. Everything else is a bug and keeps its traceback."""

import re


class GanzooError(ValueError):
    """A mistake outside the code: the message says where, what, whose, and what would work.

    The command line prints the message alone and exits with code 2.
    """

    exit_code = 2


def printable(text: str) -> str:
    """``text`` with control characters (but line breaks and tabs) written out, and those that turn text around.

    Names of files and keys of recipes may come from anywhere, and an escape code in one would act on the terminal.
    JSON stays JSON: ``\\u007f`` is what it reads back; below, it has escaped everything itself.
    """
    return _CONTROL.sub(_escape, text)


def one_line(text: str) -> str:
    """``printable``, line breaks and tabs included: for a name within a line, which it must not end."""
    return _LINE.sub(_escape, text)


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE = re.compile(f"[\t\n]|{_CONTROL.pattern}")


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\u{ord(character):04x}" if ord(character) >= 0x7F else character.encode("unicode_escape").decode()


class RecipeError(GanzooError):
    """A recipe that cannot be read or does not describe a run. The message lists every problem, one a line."""


class PluginError(GanzooError):
    """A plugin that cannot be loaded or breaks the contract; the message names distribution and version."""


class RegistryError(GanzooError):
    """A component name that is unknown, taken, or bound to a class that breaks its contract."""


class LostProcessError(GanzooError):
    """One of the processes that train together ended, hangs, or is cut off: started again, they can go on."""

    exit_code = 75  # EX_TEMPFAIL


class DataError(GanzooError):
    """Images or labels that are missing, broken or of the wrong kind."""


class CheckpointError(GanzooError):
    """A file of weights that is missing, damaged, or belongs to another recipe."""
