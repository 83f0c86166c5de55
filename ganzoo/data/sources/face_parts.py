"""Drawing one cartoon face from back to front. All lengths are fractions of the picture's side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from PIL import ImageDraw

SKIN = {
    "porcelain": "#ffe3d0",
    "light": "#f6c9a4",
    "olive": "#e0ac78",
    "tan": "#c68a55",
    "brown": "#96603a",
    "dark": "#64402b",
}
HAIR = {
    "black": "#26211f",
    "brown": "#5d3a22",
    "auburn": "#a3481c",
    "blond": "#f0c24f",
    "grey": "#b3b3b8",
    "pink": "#ec5f9c",
    "blue": "#3f6fd8",
}
BACKGROUND = {
    "sky": "#9fd4f5",
    "mint": "#a9e5c3",
    "peach": "#ffcfae",
    "lemon": "#fdf0a1",
    "lilac": "#cfbcf2",
    "coral": "#f59a8b",
    "teal": "#4fb0ae",
    "navy": "#42568f",
}
SHIRT = {
    "red": "#d84343",
    "blue": "#2f66c4",
    "green": "#3f9b57",
    "yellow": "#f2b632",
    "white": "#f4f4f2",
    "purple": "#7d4bab",
}
IRIS = {"brown": "#4a2c17", "blue": "#2b6cc0", "green": "#2f8050"}
INK, WHITE, LIPS = "#2a2020", "#ffffff", "#c23b46"


class _Pen:
    """Draws centred shapes in fractions of the side."""

    def __init__(self, draw: ImageDraw.ImageDraw, side: int) -> None:
        self._draw, self._side = draw, side

    def _box(self, x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
        s = self._side
        return ((x - rx) * s, (y - ry) * s, (x + rx) * s - 1, (y + ry) * s - 1)

    def width(self, w: float) -> int:
        return max(1, round(w * self._side))

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: str) -> None:
        self._draw.ellipse(self._box(x, y, rx, ry), fill)

    def ring(self, x: float, y: float, r: float, width: float) -> None:
        self._draw.ellipse(self._box(x, y, r, r), None, INK, self.width(width))

    def chord(self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: str) -> None:
        self._draw.chord(self._box(x, y, rx, ry), start, end, fill)

    def arc(self, x: float, y: float, rx: float, ry: float, start: float, end: float, width: float) -> None:
        self._draw.arc(self._box(x, y, rx, ry), start, end, INK, self.width(width))

    def box(self, x: float, y: float, rx: float, ry: float, radius: float, fill: str) -> None:
        self._draw.rounded_rectangle(self._box(x, y, rx, ry), radius * self._side, fill)

    def frame(self, x: float, y: float, rx: float, ry: float, width: float) -> None:
        self._draw.rounded_rectangle(self._box(x, y, rx, ry), 0.02 * self._side, None, INK, self.width(width))

    def line(self, points: list[tuple[float, float]], fill: str, width: float) -> None:
        self._draw.line([(x * self._side, y * self._side) for x, y in points], fill, self.width(width), joint="curve")

    def polygon(self, points: list[tuple[float, float]], fill: str) -> None:
        self._draw.polygon([(x * self._side, y * self._side) for x, y in points], fill)


def draw_face(draw: ImageDraw.ImageDraw, a: Mapping[str, Any], side: int) -> None:
    """Draw the face with the attributes ``a`` over a square RGB canvas of ``side`` pixels."""
    pen = _Pen(draw, side)
    x, y, rx, ry = a["x"], a["y"], a["face_width"], a["face_height"]
    skin, hair = SKIN[a["skin"]], HAIR[a["hair_colour"]]
    pen.box(0.5, 0.5, 0.51, 0.51, 0, BACKGROUND[a["background"]])
    _hair_behind(pen, a["hair_style"], hair, x, y, rx, ry)
    pen.box(x, y + ry, 0.1, 0.14, 0.02, _mixed(skin, INK, 0.2))
    pen.ellipse(x, 1.12, 0.4, 0.2, SHIRT[a["shirt"]])
    for s in (-1, 1):
        pen.ellipse(x + s * rx, y + 0.02, 0.05, 0.065, skin)
    pen.ellipse(x, y, rx, ry, skin)
    for s in (-1, 1):
        pen.ellipse(x + s * rx * 0.66, y + 0.1, 0.05, 0.034, _mixed(skin, LIPS, 0.22))
    _beard(pen, a["beard"], hair, x, y, rx, ry)
    _hair_in_front(pen, a["hair_style"], hair, x, y, rx, ry)
    _eyes(pen, a, x, y, rx)
    pen.ellipse(x, y + 0.08, 0.03, 0.024, _mixed(skin, INK, 0.25))
    _mouth(pen, a["mouth"], x, y + 0.185)
    _glasses(pen, a["glasses"], x, y, rx)


def _eyes(pen: _Pen, a: Mapping[str, Any], x: float, y: float, rx: float) -> None:
    brow = INK if a["hair_style"] == "bald" else _mixed(HAIR[a["hair_colour"]], INK, 0.3)
    for s in (-1, 1):
        ex = x + s * rx * 0.46
        pen.ellipse(ex, y, 0.074, 0.066, WHITE)
        pen.ellipse(ex + a["gaze"], y + 0.004, 0.046, 0.05, IRIS[a["eyes"]])
        pen.ellipse(ex + a["gaze"], y + 0.004, 0.026, 0.03, INK)
        pen.ellipse(ex + a["gaze"] + 0.016, y - 0.018, 0.013, 0.013, WHITE)
        pen.line([(ex - 0.065, y - 0.1 - s * a["brow"]), (ex + 0.065, y - 0.1 + s * a["brow"])], brow, 0.028)


def _mouth(pen: _Pen, kind: str, x: float, y: float) -> None:
    if kind == "smile":
        pen.arc(x, y - 0.045, 0.11, 0.08, 20, 160, 0.028)
    elif kind == "grin":
        pen.chord(x, y - 0.03, 0.125, 0.1, 0, 180, INK)
        pen.chord(x, y - 0.024, 0.1, 0.05, 0, 180, WHITE)
    elif kind == "neutral":
        pen.line([(x - 0.075, y), (x + 0.075, y)], INK, 0.028)
    elif kind == "surprised":
        pen.ellipse(x, y + 0.01, 0.052, 0.06, INK)
        pen.ellipse(x, y + 0.01, 0.034, 0.042, LIPS)
    else:
        pen.arc(x, y + 0.05, 0.09, 0.065, 205, 335, 0.028)


def _beard(pen: _Pen, kind: str, hair: str, x: float, y: float, rx: float, ry: float) -> None:
    if kind == "full":
        pen.chord(x, y + 0.01, rx, ry + 0.02, 18, 162, hair)
    if kind != "none":
        pen.chord(x, y + 0.165, 0.13, 0.055, 180, 360, hair)


def _glasses(pen: _Pen, kind: str, x: float, y: float, rx: float) -> None:
    if kind == "none":
        return
    for s in (-1, 1):
        ex = x + s * rx * 0.48
        if kind == "round":
            pen.ring(ex, y, 0.108, 0.024)
        else:
            pen.frame(ex, y, 0.11, 0.088, 0.026)
    pen.line([(x - rx * 0.12, y - 0.01), (x + rx * 0.12, y - 0.01)], INK, 0.024)


def _hair_behind(pen: _Pen, style: str, hair: str, x: float, y: float, rx: float, ry: float) -> None:
    if style == "long":
        pen.ellipse(x, y - 0.05, rx + 0.075, ry + 0.025, hair)
        pen.box(x, y + 0.24, rx + 0.075, 0.3, 0.05, hair)
    elif style == "bob":
        pen.box(x, y - 0.03, rx + 0.085, ry, 0.22, hair)
    elif style == "curly":
        curls = ((-1.02, 0.1), (-1.05, -0.4), (-0.65, -0.9), (0, -1.05), (0.65, -0.9), (1.05, -0.4), (1.02, 0.1))
        for dx, dy in curls:
            pen.ellipse(x + dx * rx, y + dy * ry, 0.14, 0.14, hair)
    elif style == "bun":
        pen.ellipse(x, y - ry - 0.06, 0.125, 0.11, hair)
        pen.ellipse(x, y - 0.04, rx + 0.025, ry, hair)
    elif style == "short":
        pen.ellipse(x, y - 0.05, rx + 0.03, ry, hair)
    elif style == "spiky":
        for degrees in range(-75, 76, 25):
            left, tip, right = (_on_ellipse(x, y, rx, ry, degrees + turn, out) for turn, out in _SPIKE)
            pen.polygon([left, tip, right], hair)


# Of each spike: degrees from its axis, and how far outside the head.
_SPIKE = ((-16, 0.0), (0, 0.12), (16, 0.0))


def _on_ellipse(x: float, y: float, rx: float, ry: float, degrees: float, out: float) -> tuple[float, float]:
    """A point ``out`` beyond the outline of the head, ``degrees`` clockwise from its top."""
    angle = math.radians(degrees)
    return x + (rx + out) * math.sin(angle), y - (ry + out) * math.cos(angle)


def _hair_in_front(pen: _Pen, style: str, hair: str, x: float, y: float, rx: float, ry: float) -> None:
    if style in ("short", "bun", "spiky"):
        pen.chord(x, y, rx + 0.006, ry + 0.006, 212, 328, hair)
    elif style == "bob":
        pen.chord(x, y, rx + 0.02, ry + 0.02, 205, 335, hair)
    elif style == "long":
        for s in (-1, 1):  # a curtain on either side of a parting
            top, outside = (x - s * 0.03, y - ry - 0.03), x + s * (rx + 0.03)
            inner = [(x - s * 0.01, y - ry * 0.72), (x + s * rx * 0.8, y - ry * 0.15)]
            pen.polygon([top, *inner, (outside, y), (outside, y - ry * 0.45), (x + s * rx * 0.75, y - ry * 0.85)], hair)
    elif style == "curly":
        for dx in (-0.75, -0.27, 0.27, 0.75):
            pen.ellipse(x + dx * rx, y - ry * (0.88 - 0.3 * dx * dx), 0.115, 0.095, hair)


def _mixed(colour: str, other: str, weight: float) -> str:
    """``colour`` with a share ``weight`` of ``other``, all as #rrggbb."""
    pairs = [(int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * weight):02x}" for a, b in pairs)
