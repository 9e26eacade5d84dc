# SPDX-License-Identifier: Apache-2.0
"""`sst prepare`: fetch and unpack the field's data sets; make records of photos."""

import argparse

from pipelines.commands import command, parse
from pipelines.prepare import coco, pascal

EXAMPLES = """examples:
  sst prepare voc2012 --root data     PASCAL VOC 2012, 2 GB: data/VOCdevkit
  sst prepare sbd --root data         adds SBD's masks, 1.4 GB: trainaug
  sst prepare coco --root coco        COCO 2017, 20 GB
  sst prepare records voc --root data/VOCdevkit --splits trainaug val \\
      --image_size 257 --output data/voc257           photos resized once, for fast reading
Archives that are on the disk already are taken from --archives (or from ROOT/downloads). All are
checked by their hash and by the number of files. Kill it and start it again at will: what is done
stays done.
"""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="sst prepare", description=__doc__.partition(": ")[2],
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="dataset", required=True, metavar="WHAT")
    for name, help_text in (("voc2012", "PASCAL VOC 2012"),
                            ("sbd", "VOC 2012 too, with SBD's masks beside its own"),
                            ("coco", "COCO")):
        one = kinds.add_parser(name, help=help_text)
        one.add_argument("--root", required=True, help="folder to put it in")
        one.add_argument("--archives", help="folder of archives that are there already")
        if name == "coco":
            one.add_argument("--year", default="2017", choices=["2014", "2017"])
    one = kinds.add_parser("records", help="photos and masks resized once, for fast reading")
    one.add_argument("kind", choices=["voc", "coco", "folder"], help="layout of the data set")
    one.add_argument("--root", required=True, help="its folder")
    one.add_argument("--output", required=True, help="new folder; give it as data.root")
    one.add_argument("--image_size", type=int, required=True, help="side in pixels")
    one.add_argument("--splits", nargs="+", default=["all"], metavar="SPLIT",
                     help="whose photos (default: all with a mask)")
    one.add_argument("--classes", help="voc: file of class names, a line each")
    one.add_argument("--annotations", help="coco: a COCO-JSON file of one's own classes")
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    options = parse(parser(), argv)
    if options.dataset == "records":
        _records(options)
        return
    if options.dataset == "coco":
        done = coco.coco(options.root, options.archives, options.year)
    else:
        done = getattr(pascal, options.dataset)(options.root, options.archives)
    print(f"ready: {done}; check every file with sst index "
          f"{'coco' if options.dataset == 'coco' else 'voc'} --root {done} --verify")


def _records(options):
    from pipelines.prepare.records import records  # starts TensorFlow, which --help need not
    from pipelines.sources import open_source

    own = {key: getattr(options, key) for key in ("classes", "annotations")
           if getattr(options, key)}
    done = records(open_source(options.kind, options.root, **own), options.output,
                   options.image_size, options.splits, progress=True)
    size = sum(path.stat().st_size for path in done.iterdir())
    print(f"ready: {done}, {size / 1e6:.0f} MB; give it as root of {options.kind}, with "
          f"image_size {options.image_size}")


if __name__ == "__main__":
    main()
