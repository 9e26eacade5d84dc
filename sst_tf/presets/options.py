# SPDX-License-Identifier: Apache-2.0
"""The options by which a command takes a trained model: a preset, or a run of one's own."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

PRESET = ("a trained model that comes with the package (sst presets lists them), or the path of a "
          "preset's file")
WEIGHTS = ("with --preset: file of the backbone's weights; without it they are looked for as "
           "docs/weights.md says")


def add_model_options(parser: ArgumentParser) -> None:
    """Let a parser take --preset or --run_dir, of which one is needed, and --weights."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--preset", help=PRESET)
    model.add_argument("--run_dir", help="a run of one's own (sst train)")
    parser.add_argument("--weights", help=WEIGHTS)


def check_model_options(options: Any) -> None:
    """UserError where weights are given for what has its own."""
    if options.weights and not options.preset:
        raise UserError("--weights: goes with --preset; a run has its backbone")


def run_folder(options: Any) -> Path:
    """The run directory that the options name; of a preset it is made under `runs/`."""
    check_model_options(options)
    if not options.preset:
        return Path(options.run_dir)
    from sst_tf.presets.as_run import preset_run

    folder = preset_run(options.preset, options.weights).folder
    print(f"preset {options.preset} as a run: {folder}")
    return folder
