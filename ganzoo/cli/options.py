"""Options that several commands have."""

from __future__ import annotations

import click

precision_option = click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="bf16: faster where the machine computes in it; images change by rounding.",
)
