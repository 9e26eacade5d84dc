# SPDX-License-Identifier: Apache-2.0
"""`sst bench-data`: episodes a second, beside a floor and a PyTorch DataLoader.

All read the same episodes without a cache, on as many threads or processes as there are cores; one
episode is two photos and two masks. The floor decodes and resizes with OpenCV (averaging areas) and
does nothing else: no augmentation, no batches. `folder` reads the same files and augments; so does
the DataLoader, with Pillow. `records` reads what `sst prepare records` made of
them, without augmentation and with. Rounds alternate; ratios of each round count, not times.
"""

import argparse
import os
import tempfile
from pathlib import Path

from pipelines.commands import command, parse, positive


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(prog="sst bench-data",
                                     description=__doc__.partition(": ")[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="folder of a data set of VOC layout")
    parser.add_argument("--image_size", type=positive, default=321, help="side in pixels")
    parser.add_argument("--batch", type=positive, default=16)
    parser.add_argument("--episodes", type=positive, default=480, help="of a round")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--workers", type=positive, default=os.cpu_count(),
                        help="default: all cores")
    parser.add_argument("--no_torch", action="store_true", help="leave the DataLoader out")
    parser.add_argument("--records", metavar="FOLDER",
                        help="where records are made or are (default: for this run alone)")
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    options = parse(parser(), argv)
    from pipelines.reading_rates import compare  # starts TensorFlow, which --help need not

    size, batch, workers = options.image_size, options.batch, options.workers
    with tempfile.TemporaryDirectory() as folder:
        rates = compare(options.root, options.episodes, options.rounds, size, workers, batch,
                        torch=not options.no_torch,
                        kept=options.records or Path(folder) / "records")
    print(f"{size} pixels, 1-shot, batch {batch}, {workers} workers, medians of {options.rounds} "
          f"rounds of {options.episodes} episodes")
    for name, one in rates.items():
        low, high = one.quartiles
        print(f"{name:<18}{one.episodes:8.1f} episodes / s   {name} / floor: {one.ratio:.2f} "
              f"({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
