"""Plugins that watch: TensorBoard and its like. One that fails is named and left alone from then on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ganzoo.plugins import LoadedPlugins


class Observers:
    """Calls the observing hooks of every plugin. ``active=False`` (ranks other than 0) makes every call do nothing."""

    def __init__(self, plugins: LoadedPlugins, *, active: bool, log: Callable[[str], None]) -> None:
        self._manager, self._log = plugins.manager, log
        self._owners = {plugin.name: plugin.owner for plugin in plugins.plugins} if active else {}

    def tell(self, hook: str, **arguments: Any) -> None:
        """Call ``hook`` of each plugin on its own, so that one cannot keep the news from the others."""
        for name in list(self._owners):
            plugin = self._manager.get_plugin(name)
            others = [other for other in self._manager.get_plugins() if other is not plugin]
            try:
                self._manager.subset_hook_caller(hook, others)(**arguments)
            except Exception as error:
                owner = self._owners.pop(name)
                self._log(
                    f"warning: {hook} of {owner} failed, and training goes on without it: "
                    f"{type(error).__name__}: {error}"
                )
