"""What tests tell at the end of a run: pytest itself shows nothing of those that pass."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much of the matrix was walked (test_matrix.py), also where each core ran some of its tests."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    walks = [value for report in reports for name, value in report.user_properties if name == "walk"]
    if not walks:
        return
    terminalreporter.section("everything with everything")
    for sizes, accepted, refused in walks:
        terminalreporter.line(f"{sizes}, {accepted + refused} walked: {accepted} accepted, {refused} refused")
    accepted, refused = (sum(walk[i] for walk in walks) for i in (1, 2))
    terminalreporter.line(f"{accepted + refused:,} in all: {accepted:,} accepted and trained, {refused:,} refused")
