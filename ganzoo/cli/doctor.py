"""``ganzoo doctor``: is everything here that ganzoo needs, and if not, what to do."""

from __future__ import annotations

import click

from ganzoo.console import echo

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Check torch, GPU, torchvision, torch-fidelity, plugins, weights, disk and extras.

    Every line says ok, warning (something optional is missing) or problem (something will fail), and what to do.
    The exit code is 1 if there is a problem, else 0.
    """
    import json
    from dataclasses import asdict

    from ganzoo.evaluation.doctor import examine

    findings = list(examine())
    if as_json:
        echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            echo(f"{finding.state:<8}", fg=_COLOURS[finding.state], nl=False)
            echo(f" {finding.subject}: {finding.text}")
    if any(finding.state == "problem" for finding in findings):
        raise SystemExit(1)
