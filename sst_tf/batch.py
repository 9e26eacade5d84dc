# SPDX-License-Identifier: Apache-2.0
"""`sst batch`: find classes in more photos than one process can answer, by Ray Data.

    sst batch --preset sst_resnet18 --card mug.npz --input photos/ --output answers/

Cards come from `sst predict --save_card` or the page. Photos come from a folder, from Parquet
files (bytes or paths) or from WebDataset tars, at a path or any URI that pyarrow or fsspec opens.
The output is a folder of Parquet files with one row a photo: id, size, and of each class its
score, whether it is there, its area and its mask; photos that cannot be read have the reason in
the column `error`. Started again it answers what has no row yet; a killed worker's photos are
answered by another.
"""

import os
import sys
from dataclasses import replace

from jsonargparse.typing import PositiveInt

from pipelines.commands import command
from sst_tf.config import ArgumentParser
from sst_tf.photos.batch import BLOCK, NAME, PHOTO
from sst_tf.photos.inputs import counted, told_of_answers, told_of_others
from sst_tf.presets.options import add_model_options, check_model_options

SHOWN = 5  # errors that are printed


def _parser():
    parser = ArgumentParser(prog="sst batch", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--card", nargs="+", required=True,
                        help="class cards that sst predict --save_card or the page wrote")
    parser.add_argument("--input", required=True, metavar="URI",
                        help="folder of photos, of Parquet files or of tars, or one such file")
    parser.add_argument("--output", required=True, metavar="URI", help="folder of rows")
    parser.add_argument("--kind", choices=["folder", "parquet", "webdataset"],
                        help="of the input, where the files do not tell")
    parser.add_argument("--photo", default=PHOTO, metavar="COLUMN",
                        help=f"of Parquet: column of photos, bytes or paths (default: {PHOTO})")
    parser.add_argument("--id", default=NAME, metavar="COLUMN",
                        help=f"of Parquet: column that names each photo (default: {NAME})")
    parser.add_argument("--masks", choices=["rle", "png", "files", "none"], default="rle",
                        help="rle: COCO's run lengths of each class (default); png: a picture of "
                             "0 and class numbers in each row; files: the same as files in "
                             "OUTPUT/masks; none")
    parser.add_argument("--workers", type=PositiveInt, default=os.cpu_count(),
                        help="processes with a model each (default: one a core)")
    parser.add_argument("--address", help="of a Ray cluster, such as auto or ray://HOST:10001; "
                                          "without it Ray runs on this machine alone")
    parser.add_argument("--batch", type=PositiveInt, default=8, help="photos at once")
    parser.add_argument("--block", type=PositiveInt, default=BLOCK,
                        help="photos of an output file; a killed worker answers so many again")
    parser.add_argument("--retry_errors", action="store_true",
                        help="answer photos again whose row holds an error")
    parser.add_argument("--always_answer", action="store_true",
                        help="a mask even where the class seems absent")
    parser.add_argument("--tiles", type=PositiveInt, default=1, help="as of sst predict")
    return parser


def everywhere(place: str) -> str:
    """A path or URI as Ray's workers understand it, which run in another folder."""
    return place if "://" in place else os.path.abspath(place)


@command
def main(argv: list[str] | None = None) -> None:
    options = _parser().parse_args(argv)
    check_model_options(options)
    # Ray and TensorFlow take seconds to import, which --help need not wait for.
    from sst_tf.photos.batch.engine import answer
    from sst_tf.photos.batch.worker import Question
    from sst_tf.photos.class_card import ClassCard, refuse_one_name
    from sst_tf.presets.preset import SUFFIX, Preset
    from sst_tf.runs.directory import Run

    preset = Preset.load(options.preset) if options.preset else None
    sha256 = preset.sha256 if preset else Run.open(options.run_dir).model_sha256()
    cards = [replace(ClassCard.load(path, sha256), thumbnail=b"") for path in options.card]
    refuse_one_name([card.name for card in cards])
    if preset and not options.address:  # a cluster has its own; a worker's error is many lines
        preset.model(options.weights)
    by_name = options.preset and not options.preset.endswith(SUFFIX)
    model = options.preset if by_name else everywhere(options.preset or options.run_dir)
    done = answer(
        Question(model, options.weights and everywhere(options.weights), cards,
                 not options.always_answer, options.tiles, options.masks, options.batch),
        everywhere(options.input), everywhere(options.output), options.workers, options.address,
        options.kind, options.photo, options.id, options.block,
        retry_errors=options.retry_errors)
    print(f"{done.photos} rows in {options.output}, {done.before} of them from before")
    for line in filter(None, (told_of_others(done.others), told_of_answers(done.answers))):
        print(line, file=sys.stderr)
    if done.errors:
        from sst_tf.photos.batch.output import Output

        lines = [f"  {error}" for _, error in Output(options.output).errors(SHOWN)]
        print(f"{counted(done.errors, 'photo')} could not be answered, the column `error` says why "
              "(--retry_errors asks them again):\n" + "\n".join(lines), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
