"""``ganzoo plugins``: what is installed, what each plugin brings, and what failed."""

from __future__ import annotations

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plugins(as_json: bool) -> None:
    """List plugins with their versions, what each registers, and those that failed and why."""
    import json

    from ganzoo.plugins import load_plugins

    loaded = load_plugins()
    if as_json:
        click.echo(
            json.dumps(
                {
                    "plugins": [
                        {
                            "name": p.name,
                            "dist": p.owner.dist,
                            "version": p.owner.version,
                            "hooks": p.hooks,
                            "components": [{"kind": e.kind, "name": e.name} for e in p.components],
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
        click.secho(f"{p.owner}", bold=True, nl=False)
        click.echo(f"  ({p.name})")
        for kind in dict.fromkeys(entry.kind for entry in p.components):
            names = ", ".join(entry.name for entry in p.components if entry.kind == kind)
            click.echo(f"  {kind:<14s} {names}")
    for f in loaded.failures:
        click.secho(f"left out: {f}", fg="red")
