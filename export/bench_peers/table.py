# SPDX-License-Identifier: Apache-2.0
"""What races brought, as Markdown."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.writing import write_text

BLOCK = re.compile(r"<!-- bench-peers -->\n.*?<!-- end -->", re.S)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """(their median seconds over ours, lower and upper quartile of the rounds' own ratios).

    Over 1 we are the faster one.
    """
    low, high = np.percentile(np.divide(theirs, ours), [25, 75])
    return float(np.median(theirs) / np.median(ours)), float(low), float(high)


def verdict(value: float, low: float, high: float) -> str:
    """"ahead", "behind by so much", or neither where the quartiles lie on both sides of 1."""
    if low <= 1 <= high:
        return "level"
    if value > 1:
        return f"ahead: they take {100 * (value - 1):.0f} % longer"
    return f"behind: we take {100 * (1 / value - 1):.0f} % longer"


def markdown(kept: dict[str, Any]) -> str:
    """A table and a line of circumstances for each race of a results file."""
    return "\n".join(_race(one) for one in kept["races"].values())


def refresh(page: str | Path, kept: dict[str, Any]) -> None:
    """Write the block `<!-- bench-peers -->` of a page anew."""
    made = f"<!-- bench-peers -->\n\n{markdown(kept)}\n<!-- end -->"
    write_text(page, BLOCK.sub(lambda _: made, Path(page).read_text(encoding="utf-8")))


def _race(one):
    seconds, unit = one["seconds"], one["unit"]
    mine = [name for name in one["ours"] if name in seconds]
    others = [name for name in seconds if name not in one["ours"]]
    lines = [f"**{one['title']}**", "",
             f"| | {unit} | against | ratio | quartiles | |", "|---|---|---|---|---|---|"]
    for name in mine:
        shown = _amount(seconds[name], unit)
        for other in others:
            value, low, high = ratio(seconds[name], seconds[other])
            lines.append(f"| {name} | {shown} | {other}, {_amount(seconds[other], unit)} | "
                         f"{value:.2f} | {low:.2f} .. {high:.2f} | {verdict(value, low, high)} |")
    lines += [f"| {name} | not run: {reason} | | | | |" for name, reason in one["failed"].items()]
    spread = "" if one["difference"] is None else (
        f"; answers differ by {one['difference']:.0e} at most")
    circumstances = f"{one['work']}; medians of {one['rounds']} rounds; {one['machine']}{spread}."
    lines += ["", circumstances, ""]
    return "\n".join(lines)


def _amount(seconds, unit):
    median = float(np.median(seconds))
    return f"{1000 * median:.0f}" if unit == "ms" else f"{1 / median:.1f}"
