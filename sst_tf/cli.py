# SPDX-License-Identifier: Apache-2.0
"""The command `sst`: one name for all commands, each of which is imported when it is called."""

import difflib
import importlib
import os
import sys
from importlib import metadata

from pipelines.commands import COMPLETING, command
from pipelines.errors import UserError
from sst_tf import __version__

# {title: {name: (module, what it does)}}; entry points of the group "sst.commands" add others.
COMMANDS = {
    "Train and evaluate": {
        "train": ("sst_tf.train", "train a run and evaluate it: sst train shapes_small"),
        "evaluate": ("sst_tf.evaluate", "score a run on episodes of classes it never saw"),
        "compare": ("sst_tf.compare", "show runs side by side, each paired with the first"),
        "experiment": ("sst_tf.experiment", "train and evaluate a table of runs: sst experiment "
                                            "table1 --profile mini"),
        "report": ("sst_tf.report", "write a page of tables and figures on runs"),
        "mark-cost": ("sst_tf.mark_cost", "tell what boxes and scribbles cost beside exact masks"),
        "preset": ("sst_tf.preset", "make a small file of a run's head, with its card"),
        "bench": ("sst_tf.bench", "measure a training step against the work it cannot avoid"),
    },
    "Find a class in photos": {
        "predict": ("sst_tf.predict", "segment a folder, photos or a video, given marked photos"),
        "batch": ("sst_tf.batch", "segment very many photos, in several processes or on several "
                                  "machines"),
        "presets": ("sst_tf.presets.__main__", "list the trained models that come with the "
                                               "package, with scores and sizes"),
    },
    "Data sets": {
        "prepare": ("pipelines.prepare.__main__", "download, check and unpack VOC 2012, SBD or "
                                                  "COCO"),
        "index": ("pipelines.index.__main__", "list the photos of each class, or verify a data "
                                              "set"),
        "remote": ("pipelines.remote.__main__", "read episodes on other processes or machines"),
        "bench-data": ("pipelines.bench_reading", "measure how many episodes a second are read"),
    },
    "This machine": {
        "doctor": ("sst_tf.doctor", "tell versions, devices, weights found and what is missing"),
    },
}


def commands() -> dict[str, dict[str, tuple[str, str]]]:
    """`COMMANDS` and the tables that installed packages add."""
    tables = dict(COMMANDS)
    for entry in metadata.entry_points(group="sst.commands"):
        tables.update(entry.load())
    return tables


def help_text(tables: dict[str, dict[str, tuple[str, str]]]) -> str:
    """One line a command, under the titles of the tables."""
    width = max(len(name) for table in tables.values() for name in table)
    lines = ["usage: sst COMMAND [options]", "",
             "Few-shot segmentation by self-supervised tuning (Zhu et al., IJCAI 2020).", ""]
    for title, table in tables.items():
        lines += [f"{title}:", *(f"  {name:{width}}  {text}" for name, (_, text) in table.items()),
                  ""]
    return "\n".join([*lines, "sst COMMAND --help tells the options of a command.",
                      "Bash and zsh complete them after: "
                      "eval \"$(register-python-argcomplete sst)\""])


@command
def main(argv: list[str] | None = None) -> None:
    """Call the command that `argv` (default: the process's arguments) names first.

    Raises:
        SystemExit: with the command's own status; 2 where no command has the name.
    """
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    tables = commands()
    known = {key: module for table in tables.values() for key, (module, _) in table.items()}
    if COMPLETING in os.environ:
        from sst_tf.completion import complete

        complete(known, lambda word: importlib.import_module(known[word]).main([]))
    if name in ("-h", "--help", "help"):
        print(help_text(tables))
        return
    if name == "--version":
        print(f"sst-tf {__version__}")
        return
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise UserError(f"sst: no command {name!r}; " + (f"did you mean {near[0]!r}? " if near
                                                         else "") + "sst --help lists them")
    importlib.import_module(known[name]).main(rest)


if __name__ == "__main__":
    main()
