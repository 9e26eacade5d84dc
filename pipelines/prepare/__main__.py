# SPDX-License-Identifier: Apache-2.0
"""`python -m pipelines.prepare`: fetch, check and unpack the field's data sets."""

import argparse

from pipelines.commands import command, parse
from pipelines.prepare import coco, pascal

EXAMPLES = """examples:
  python -m pipelines.prepare voc2012 --root data     PASCAL VOC 2012, 2 GB: data/VOCdevkit
  python -m pipelines.prepare sbd --root data         adds SBD's masks, 1.4 GB: trainaug
  python -m pipelines.prepare coco --root coco        COCO 2017, 20 GB
Archives that are on the disk already are taken from --archives (or from ROOT/downloads). All are
checked by their hash and by the number of files. Kill it and start it again at will: what is done
stays done.
"""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.prepare", description=__doc__.partition(": ")[2],
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=["voc2012", "sbd", "coco"],
                        help="sbd: VOC 2012 too, with SBD's masks beside its own")
    parser.add_argument("--root", required=True, help="folder to put it in")
    parser.add_argument("--archives", help="folder of archives that are there already")
    parser.add_argument("--year", default="2017", choices=["2014", "2017"], help="of coco")
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    options = parse(parser(), argv)
    if options.dataset == "coco":
        done = coco.coco(options.root, options.archives, options.year)
    else:
        done = getattr(pascal, options.dataset)(options.root, options.archives)
    print(f"ready: {done}; check every file with python -m pipelines.index "
          f"{'coco' if options.dataset == 'coco' else 'voc'} --root {done} --verify")


if __name__ == "__main__":
    main()
