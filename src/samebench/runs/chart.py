"""Steps as a drawing: boxes in rows, each below those that it is made from. SVG by hand, which any browser shows.

States are told by word, mark and frame as much as by colour. The drawing brings its own ground in light and dark, so
that it is read on either, and carries its steps, so that it can be drawn anew.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from samebench.core import untrusted
from samebench.core.command import UsageError
from samebench.core.text import printable

WIDTH, EDGE, ACROSS, DOWN, HEIGHT = 760, 20, 20, 34, 84  # pixels; the last three of gaps and boxes
WIDEST = 350
LETTER, MONO = 6.5, 6.9  # pixels that a letter takes at most on average, in the two founts
NAMESPACE = "{http://www.w3.org/2000/svg}"

# The colours of GitHub's Primer, light and dark; each has a contrast of 4.5 or more on its ground.
COLOURS = {
    "ground": ("#ffffff", "#0d1117"),
    "box": ("#f6f8fa", "#161b22"),
    "line": ("#8c959f", "#6e7681"),
    "ink": ("#1f2328", "#e6edf3"),
    "soft": ("#59636e", "#9198a1"),
    "up": ("#1a7f37", "#3fb950"),
    "stale": ("#9a6700", "#d29922"),
    "missing": ("#0969da", "#58a6ff"),
    "unknown": ("#59636e", "#9198a1"),
}

# For each state a name, a mark in a square of 12 pixels, and how its frame is drawn.
STATES = {
    "up to date": ("up", "M2 6.5 4.8 9.5 10 3", ""),
    "stale": ("stale", "M10 6.2A4 4 0 1 1 8.6 3M8.8.8V3.2H6.4", "stroke-width:2"),
    "missing": ("missing", "M6 2V10M2 6H10", "stroke-dasharray:7 4"),
    "not known": ("unknown", "M4 4.2A2 2 0 1 1 7 5.9Q6 6.4 6 7.4M6 10V10.1", "stroke-dasharray:2 3"),
}

StepDict = Mapping[str, Any]  # name, state, why, command, from


def draw(steps: Sequence[StepDict], *, title: str) -> str:
    """The drawing of these steps, each after those that it is `from`, as an SVG document."""
    rows = _rows(steps)
    places = _places(rows, {step["name"]: step for step in steps})
    tall = 2 * EDGE + len(rows) * HEIGHT + (len(rows) - 1) * DOWN
    description = "; ".join(f"{step['name']}: {step['state']}, {step['why']}" for step in steps)
    size = f'width="{WIDTH}" height="{tall}" viewBox="0 0 {WIDTH} {tall}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(description)}</desc>',
        f"<metadata>{escape(json.dumps([dict(step) for step in steps]))}</metadata>",
        f"<style>\n{_style()}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{tall - 1}" rx="8"/>',
    ]
    lines += [_arrow(places[name], places[step["name"]]) for step in steps for name in step["from"]]
    lines += [_box(step, *places[step["name"]]) for step in steps]
    return "\n".join([*lines, "</svg>", ""])


def read_embedded(path: Path) -> tuple[str, list[StepDict]]:
    """Title and steps that a drawing carries. Raises UsageError where it is none of ours."""
    try:
        root = ET.fromstring(untrusted.read_bytes(path).decode())  # noqa: S314 - it fetches no entities
        texts = {name: root.findtext(f"{NAMESPACE}{name}") or "" for name in ("title", "metadata")}
        steps = untrusted.parse_json(f'{{"steps": {texts["metadata"]}}}', where="its metadata")["steps"]
        return printable(texts["title"]), _check_steps(steps)
    except (OSError, TypeError, ValueError, LookupError, ET.ParseError) as error:
        reason = printable(error, longest=120)
        raise UsageError(f"{path}: no picture of ours ({reason}); make flow draws one") from error


def _check_steps(steps: Any) -> list[StepDict]:
    """The steps that a picture carries, with nothing in them that can't be printed. Raises ValueError, LookupError."""
    checked: list[dict[str, Any]] = []
    for step in steps:
        texts = {name: step[name] for name in ("name", "state", "why", "command")}
        names = {each["name"] for each in checked}
        before = step["from"]
        if not all(isinstance(text, str) for text in texts.values()) or not isinstance(before, list):
            raise ValueError("a step has a value of another type")
        if texts["state"] not in STATES or texts["name"] in names or not set(before) <= names:
            raise ValueError("a step has a state, a name or a step before it that there is not")
        checked.append({**{name: printable(text) for name, text in texts.items()}, "from": before})
    return list(checked)


# ---- where each stands ----


def _rows(steps: Sequence[StepDict]) -> list[list[str]]:
    """The names in each row: one row below the lowest of those that it is from."""
    level: dict[str, int] = {}
    for step in steps:
        level[step["name"]] = max((level[name] + 1 for name in step["from"]), default=0)
    return [[name for name, row in level.items() if row == each] for each in range(max(level.values(), default=-1) + 1)]


def _places(rows: Sequence[Sequence[str]], steps: Mapping[str, StepDict]) -> dict[str, tuple[float, float, float]]:
    """Left, top and width of each box; one that is alone stands below the middle of those that it is from."""
    most = max(map(len, rows), default=1)
    width = min(WIDEST, (WIDTH - 2 * EDGE - (most - 1) * ACROSS) / most)
    places: dict[str, tuple[float, float, float]] = {}
    for row, names in enumerate(rows):
        left = (WIDTH - len(names) * width - (len(names) - 1) * ACROSS) / 2
        before = [places[name][0] for name in steps[names[0]]["from"]]
        if len(names) == 1 and before:
            left = sum(before) / len(before)
        for place, name in enumerate(names):
            places[name] = (left + place * (width + ACROSS), EDGE + row * (HEIGHT + DOWN), width)
    return places


# ---- how each is drawn ----


def _style() -> str:
    light, dark = (_rules(scheme) for scheme in range(2))
    return f"""text {{ font: 13px system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif }}
.name {{ font-size: 15px; font-weight: 600 }}
.state {{ font-weight: 600 }}
.command {{ font: 11.5px ui-monospace, "SF Mono", Consolas, "Liberation Mono", monospace }}
.frame {{ stroke-width: 1.5 }}
.mark, .arrow {{ fill: none; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round }}
{light}@media (prefers-color-scheme: dark) {{
{dark}}}
"""


def _rules(scheme: int) -> str:
    colour = {name: both[scheme] for name, both in COLOURS.items()}
    rules = [
        f".ground {{ fill: {colour['ground']}; stroke: {colour['line']}; stroke-opacity: 0.4 }}",
        f".name, .command {{ fill: {colour['ink']} }}",
        f".why {{ fill: {colour['soft']} }}",
        f".arrow {{ stroke: {colour['line']} }}",
    ]
    for name, _, _ in STATES.values():
        rules.append(f".{name} .frame {{ fill: {colour['box']}; stroke: {colour[name]} }}")
        rules.append(f".{name} .state {{ fill: {colour[name]} }}")
        rules.append(f".{name} .mark {{ stroke: {colour[name]} }}")
    return "".join(f"{rule}\n" for rule in rules)


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    """From the lower edge of the one to the upper of the other, round two corners; its head is part of it."""
    (x, y, width), (to, top, across) = start, end
    x, y, to, top = x + width / 2, y + HEIGHT, to + across / 2, top - 2
    middle, turn = top - DOWN / 2, min(8, abs(to - x) / 2) * (1 if to > x else -1)
    line = f"M{x:g} {y:g}V{middle - abs(turn):g}Q{x:g} {middle:g} {x + turn:g} {middle:g}"
    line += f"H{to - turn:g}Q{to:g} {middle:g} {to:g} {middle + abs(turn):g}V{top:g}"
    return f'<path class="arrow" d="{line}M{to - 4.5:g} {top - 5.5:g}L{to:g} {top:g}L{to + 4.5:g} {top - 5.5:g}"/>'


def _box(step: StepDict, left: float, top: float, width: float) -> str:
    kind, mark, frame = STATES[step["state"]]
    room = width - 28
    return f"""<g class="{kind}" transform="translate({left:g} {top:g})">
<title>{escape(f"{step['name']}: {step['state']}, {step['why']}")}</title>
<rect class="frame" width="{width:g}" height="{HEIGHT}" rx="7"{f' style="{frame}"' if frame else ""}/>
<text class="name" x="14" y="27">{escape(step["name"])}</text>
<text class="state" x="{width - 32:g}" y="26" text-anchor="end">{escape(step["state"])}</text>
<path class="mark" transform="translate({width - 26:g} 15.5)" d="{mark}"/>
<text class="why" x="14" y="48">{escape(_short(step["why"], room / LETTER))}</text>
<text class="command" x="14" y="69">{escape(_short(step["command"], room / MONO))}</text>
</g>"""


def _short(text: str, room: float) -> str:
    return text if len(text) <= room else f"{text[: int(room) - 1]}…"
