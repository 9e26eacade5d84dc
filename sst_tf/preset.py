# SPDX-License-Identifier: Apache-2.0
"""`sst preset RUN --name NAME`: make a preset of a finished run, with its card.

Two files: NAME.npz (embedding and head in half precision, operating points, no backbone) and
NAME.md. `Predictor.from_preset` takes the path of the first, or NAME where it lies in the package.
"""

from pathlib import Path

from jsonargparse.typing import NonNegativeInt

from pipelines.commands import command
from pipelines.errors import UserError
from pipelines.writing import write_text
from sst_tf.config import ArgumentParser
from sst_tf.runs.directory import Run


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst preset", description=__doc__)
    parser.add_argument("run", help="run directory; one of data.novel_classes [] to ship")
    parser.add_argument("--name", required=True, help="of the preset, such as sst_resnet18")
    parser.add_argument("--scores", help="what the same recipe scores on the classes that each "
                                         "fold leaves out: a JSON file of sst experiment --output")
    parser.add_argument("--row", help="with --scores: the recipe's row in it")
    parser.add_argument("--shapes", type=NonNegativeInt, default=400,
                        help="episodes of drawn shapes that it is tried on; 0 for none")
    parser.add_argument("--weights", help="file of the backbone's weights, for that trial")
    parser.add_argument("--output", help="folder of the two files; by default the package's own")
    options = parser.parse_args(argv)
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from sst_tf.presets.card import card
    from sst_tf.presets.making import fold_scores, preset_of
    from sst_tf.presets.out_of_domain import on_shapes
    from sst_tf.presets.preset import HERE

    if not options.name.isidentifier():
        raise UserError(f"--name {options.name!r}: expected letters, digits and _ alone")
    if bool(options.scores) != bool(options.row):
        raise UserError("--scores and --row: one without the other; expected both or neither")
    scores = fold_scores(options.scores, options.row) if options.scores else None
    run = Run.open(options.run)
    preset = preset_of(run, options.name, scores)
    if options.shapes:
        configured = run.config().model.weights
        model = preset.model(options.weights or (None if configured == "none" else configured))
        preset = preset.scored(shapes=on_shapes(preset, model, options.shapes))
    folder = Path(options.output or HERE)
    path = preset.save(folder)
    write_text(folder / f"{options.name}.md", card(preset))
    print(f"{path}: {len(preset.data) / 1e6:.2f} MB\n\n{card(preset)}", end="")


if __name__ == "__main__":
    main()
