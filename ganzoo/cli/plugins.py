"""``ganzoo plugins``: what is installed, what each plugin brings, and what failed."""

from __future__ import annotations

import click

from ganzoo.console import echo


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plugins(as_json: bool) -> None:
    """List plugins with their versions, what each registers, and those that failed and why."""
    import json

    from ganzoo.cli import COMMANDS
    from ganzoo.plugins import REGISTRATION_HOOKS, load_commands, load_plugins

    loaded, found = load_plugins(), load_commands(COMMANDS)
    commands = {
        p.name: sorted(name for name, entry in found.commands.items() if entry.owner == p.owner) for p in loaded.plugins
    }
    if as_json:
        echo(
            json.dumps(
                {
                    "plugins": [
                        {
                            "name": p.name,
                            "dist": p.owner.dist,
                            "version": p.owner.version,
                            "hooks": p.hooks,
                            "components": [{"kind": e.kind, "name": e.name} for e in p.components],
                            "commands": commands[p.name],
                        }
                        for p in loaded.plugins
                    ],
                    "failures": [
                        {"name": f.name, "dist": f.owner.dist, "version": f.owner.version, "reason": f.reason}
                        for f in loaded.failures
                    ],
                },
                indent=2,
            )
        )
        return
    for p in loaded.plugins:
        echo(f"{p.owner}", bold=True, nl=False)
        echo(f"  ({p.name})")
        for kind in dict.fromkeys(entry.kind for entry in p.components):
            names = ", ".join(entry.name for entry in p.components if entry.kind == kind)
            echo(f"  {kind:<14s} {names}")
        if commands[p.name]:
            echo(f"  {'command':<14s} {', '.join(commands[p.name])}")
        apart = {"ganzoo_register_commands", "ganzoo_register_models"}
        watches = [hook for hook in p.hooks if hook not in {*REGISTRATION_HOOKS, *apart}]
        if watches:
            echo(f"  {'observer':<14s} {', '.join(watches)}")
    for problem in found.refused.values():
        echo(f"left out: {problem}", fg="red")
    for f in loaded.failures:
        echo(f"left out: {f}", fg="red")
