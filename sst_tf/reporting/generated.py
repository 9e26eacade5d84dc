# SPDX-License-Identifier: Apache-2.0
"""Tables inside a page that is otherwise written by hand, made again from kept results.

Between `<!-- results: NAME -->` and `<!-- end -->` stand the tables of `NAME.json`, an experiment's
summary. `NAME 1` is of one shot alone, `NAME 1 half` at 0.5 alone (`chosen`: at the base-chosen
threshold), `NAME gauges` what explains the scores, `NAME cost` hours and photos.
"""

import json
import re
from pathlib import Path

from pipelines.errors import DataError
from pipelines.sealed import told
from pipelines.writing import write_text
from sst_tf.evaluation.stored import POINTS
from sst_tf.reporting import document
from sst_tf.reporting.document import Paragraph, Part
from sst_tf.reporting.experiment_table import GAUGES, cost_of, gauges_of, table_of

BLOCK = re.compile(r"<!-- results: ([^\n]+?) -->\n.*?<!-- end -->", re.S)


def refresh(page: str | Path, folder: str | Path) -> list[str]:
    """Write the tables of a page anew; returns their names.

    Args:
        page: Markdown file with blocks.
        folder: of the summaries.
    """
    text = Path(page).read_text(encoding="utf-8")
    write_text(page, filled(text, folder))
    return [match.group(1) for match in BLOCK.finditer(text)]


def filled(text: str, folder: str | Path) -> str:
    """The text with the blocks' tables as the summaries in `folder` give them.

    Raises:
        DataError: a block that no summary has, or that is not closed; a file that is no summary.
    """
    opened = len(re.findall(r"^<!-- results:", text, re.M))
    if opened != len(BLOCK.findall(text)):
        raise DataError(f"{opened} blocks of results are opened, {len(BLOCK.findall(text))} closed;"
                        " each ends in <!-- end -->")
    return BLOCK.sub(lambda match: f"<!-- results: {match.group(1)} -->\n\n"
                     f"{block(match.group(1), folder)}\n<!-- end -->", text)


def block(words: str, folder: str | Path) -> str:
    """The Markdown of one block.

    Args:
        words: name of the summary, and what of it.
    """
    name, *which = words.split()
    path = Path(folder) / f"{name}.json"
    if not path.is_file():
        raise DataError(f"{path}: no such results; known: "
                        f"{', '.join(sorted(p.stem for p in Path(folder).glob('*.json')))}")
    with told(path, "make it again with sst experiment --output"):
        found = json.loads(path.read_text(encoding="utf-8"))
        tables = found["tables"]
    made: list[Part] = []
    for one in tables:
        asked = [word for word in which if word not in ("gauges", "cost")]
        if which and not asked or not set(asked) <= {str(one["shots"]), one["point"]}:
            continue
        made += [Paragraph(f"{one['shots']}-shot, mIoU {POINTS[one['point']]}:"),
                 *table_of(found, one)]
    if "gauges" in which and (gauges := gauges_of(found)):
        made += [Paragraph(f"{GAUGES}:"), *gauges[1:]]
    if not which or "cost" in which:
        made.append(Paragraph(cost_of(found)))
    if not made:
        raise DataError(f"results block {words!r}: {path} has no such table; expected NAME, "
                        "NAME SHOTS, NAME SHOTS half, NAME SHOTS chosen, NAME gauges or NAME cost")
    return document.markdown(made)
