"""The errors that a user can cause. Everything else is a bug and keeps its traceback."""

import re


class GanzooError(ValueError):
    """A mistake outside the code: the message says where, what, whose, and what would work.

    The command line prints the message alone and exits with code 2.
    """

    exit_code = 2


def printable(text: str) -> str:
    """``text`` with control characters (but line breaks and tabs) written out.

    Names of files and keys of recipes may come from anywhere, and an escape code in one would act on the terminal.
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", lambda m: m[0].encode("unicode_escape").decode(), text)


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
