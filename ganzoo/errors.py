"""The errors that a user can cause. Everything else is a bug and keeps its traceback."""


class GanzooError(ValueError):
    """A mistake outside the code: the message says where, what, whose, and what would work.

    The command line prints the message alone and exits with code 2.
    """


class RecipeError(GanzooError):
    """A recipe that cannot be read or does not describe a run. The message lists every problem, one a line."""


class PluginError(GanzooError):
    """A plugin that cannot be loaded or breaks the contract; the message names distribution and version."""


class RegistryError(GanzooError):
    """A component name that is unknown, taken, or bound to a class that breaks its contract."""


class DataError(GanzooError):
    """Images or labels that are missing, broken or of the wrong kind."""


class CheckpointError(GanzooError):
    """A file of weights that is missing, damaged, or belongs to another recipe."""
