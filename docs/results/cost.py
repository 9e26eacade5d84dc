# SPDX-License-Identifier: Apache-2.0
"""Score against cost of exported models: `python docs/results/cost.py VERSION... [--plot FILE]`

VERSION is a folder of `sst export-onnx --encoder int8`, whose export.json tells what float32 and 8
bits scored, took and weighed on the same episodes of base classes, in turn. Prints a table with a
row a precision; FILE (SVG) shows mIoU over milliseconds, the area of a mark its megabytes.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

PRECISIONS = ("float32", "int8")


def points(facts):
    """(name, precision, mIoU, milliseconds, megabytes) of a version, float32 first."""
    found = facts["int8"]
    for i, precision in enumerate(PRECISIONS):
        size = found["megabytes" if precision == "int8" else "megabytes_float32"]
        yield (f"{facts['backbone']}, {facts['shots']}-shot", precision, found[precision],
               found["milliseconds"][i], size)


def table(versions):
    """Markdown."""
    yield "| model | encoder | mIoU | 8 bits minus float32, 95 % | `segment`, ms | rate | MB |"
    yield "|---|---|---|---|---|---|---|"
    for facts in versions:
        found = facts["int8"]
        low, high = found["interval"]
        for name, precision, score, time, size in points(facts):
            narrow = precision == "int8"
            change = f"{-found['lost']:+.4f} ({low:+.4f} to {high:+.4f})" if narrow else ""
            rate = f"{found['rate']:.2f}" if narrow else "1"
            yield (f"| {name} | {precision} | {score:.3f} | {change} | {time:.0f} | {rate} | "
                   f"{size:.0f} |")


def draw(versions, path):
    """The plot."""
    figure = Figure((5, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for facts in versions:
        shown = list(points(facts))
        _, _, scores, times, sizes = zip(*shown, strict=True)
        axes.plot(times, scores, linewidth=0.8, color="gray", zorder=1)
        axes.scatter(times, scores, s=[12 * size for size in sizes], alpha=0.6, zorder=2)
        for name, precision, score, time, size in shown:
            axes.annotate(f"{name}\n{precision}, {size:.0f} MB", (time, score), fontsize=7,
                          ha="center", va="center")
    axes.margins(0.35, 0.6)
    axes.set_xlabel("milliseconds of `segment`")
    axes.set_ylabel("mIoU, base classes")
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("versions", nargs="+", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    versions = [json.loads((folder / "export.json").read_text(encoding="utf-8"))
                for folder in options.versions]
    print("\n".join(table(versions)))
    if options.plot:
        draw(versions, options.plot)


if __name__ == "__main__":
    main()
