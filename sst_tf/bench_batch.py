# SPDX-License-Identifier: Apache-2.0
"""`python -m sst_tf.bench_batch`: `sst batch` on many photos, killed on the way, rows counted.

Links photos under distinct names until there are enough, answers them by `sst batch`, kills workers
while it runs and then the whole command, starts it again, and counts rows. Its rate stands beside
that of one process, measured before and after. The folder --work is made, and is left.
"""

from dataclasses import replace
from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveInt

from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="python -m sst_tf.bench_batch", description=__doc__)
    parser.add_argument("--preset", default="sst_resnet18")
    parser.add_argument("--card", required=True, help="class card of that preset")
    parser.add_argument("--photos_from", nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("--photos", type=PositiveInt, default=20000)
    parser.add_argument("--workers", type=PositiveInt, default=2)
    parser.add_argument("--kills", type=NonNegativeInt, default=2, help="of workers")
    parser.add_argument("--sample", type=PositiveInt, default=328,
                        help="photos for one process's rate")
    parser.add_argument("--work", required=True, metavar="FOLDER", help="for links and rows")
    options = parser.parse_args(argv)
    work = Path(options.work)
    if work.exists():
        raise UserError(f"--work {work}: is there already; name a new folder")
    # Ray and TensorFlow take seconds to import, which --help need not wait for.
    from sst_tf.photos.batch import trial
    from sst_tf.photos.batch.worker import Question
    from sst_tf.photos.class_card import ClassCard
    from sst_tf.presets.preset import Preset

    card = ClassCard.load(options.card, Preset.load(options.preset).sha256)
    trial.link_photos(options.photos_from, options.photos, work / "photos")
    question = Question(options.preset, None, [replace(card, thumbnail=b"")], True, 1, "rle", 8)
    seen = trial.run(
        question, ["--preset", options.preset, "--card", options.card, "--input",
                   str(work / "photos"), "--output", str(work / "rows"),
                   "--workers", str(options.workers)],
        work / "photos", work / "rows", options.kills, options.sample)
    best = max(seen.alone)
    print(f"{seen.photos} photos, {options.workers} workers: {seen.kills} workers killed, the "
          f"command killed at {seen.answered_before} rows and started again; {seen.rows} rows, "
          f"each photo once, {seen.errors} errors\n"
          f"{seen.seconds:.0f} s with starts and kills, {seen.rate:.1f} photos a second; one "
          f"process {seen.alone[0]:.1f} before and {seen.alone[1]:.1f} after: "
          f"{seen.rate / best:.2f} times the better one")


if __name__ == "__main__":
    main()
