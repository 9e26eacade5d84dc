# SPDX-License-Identifier: Apache-2.0
"""`sst index`: list the (photo, class) pairs of a data set, or verify all of it."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from pipelines.commands import command, parse
from pipelines.errors import UserError
from pipelines.folds import novel_class_ids
from pipelines.index import PAIR_FILTERS, build_index, split_pairs
from pipelines.index.pairs import Pair
from pipelines.index.verify import verify
from pipelines.renamed import OldOption
from pipelines.sources import open_source
from pipelines.writing import write_text

EXAMPLES = """examples:
  sst index voc --root VOCdevkit --split val --fold 0 --part novel \\
      --pair_filter oslsm --output fold0.jsonl   the pairs that test episodes of fold 0 draw from
  sst index folder --root fewshot_data --verify
                                              every damaged file, empty mask and thin class
"""

POLICIES = ["keep", "drop", "ignore255"]


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="sst index", description=__doc__.partition(": ")[2], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=["voc", "coco", "folder", "shapes"],
                        help="layout of the data set")
    parser.add_argument("--root", help="its folder")
    parser.add_argument("--classes", help="voc: file of class names, a line each")
    parser.add_argument("--annotations", help="coco: a COCO-JSON file of one's own classes")
    parser.add_argument("--split", default="all", help="which photos (default: all with a mask)")
    parser.add_argument("--pair_filter", default="none", choices=list(PAIR_FILTERS),
                        help="which pairs count: any pixel, PFENet's area, OSLSM's grid")
    novel = parser.add_mutually_exclusive_group()
    novel.add_argument("--fold", type=int, help="0 to 3: only base or novel pairs of this fold")
    novel.add_argument("--novel_classes", nargs="+", metavar="NAME", help="novel ones by name")
    parser.add_argument("--layout", choices=["contiguous", "interleaved"],
                        help="of the folds (default: interleaved for COCO's classes)")
    parser.add_argument("--part", choices=["base", "novel"],
                        help="with --fold or --novel_classes: which classes' pairs (default: "
                             "novel)")
    parser.add_argument("--novel_policy", choices=POLICIES,
                        help="base pairs of photos that hold a novel class (default: drop)")
    for old, new, choices in (("--rule", "pair_filter", list(PAIR_FILTERS)),
                              ("--novel", "novel_policy", POLICIES)):
        parser.add_argument(old, dest=new, action=OldOption, choices=choices,
                            default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--output", help="file of JSON lines (default: the terminal)")
    parser.add_argument("--verify", action="store_true",
                        help="read every photo and mask and report all that is wrong; exit code 1")
    return parser


def lines(pairs: Sequence[Pair], classes: Sequence[str]) -> Iterator[str]:
    """A JSON line a pair: image, class number and name, area in pixels of the photo."""
    for pair in pairs:
        yield json.dumps({"image": pair.image_id, "class_id": pair.class_id,
                          "class": classes[pair.class_id - 1], "area": pair.area},
                         ensure_ascii=False) + "\n"


@command
def main(argv: list[str] | None = None) -> None:
    options = parse(parser(), argv)
    own = {key: getattr(options, key) for key in ("root", "classes", "annotations")
           if getattr(options, key)}
    if options.dataset != "shapes" and "root" not in own:
        raise UserError(f"--root: a {options.dataset} data set needs its folder")
    _refuse_unused(options)
    source = open_source(options.dataset, **own)
    if options.verify:
        photos, problems = verify(source, options.split, progress=True)
        print("".join(f"{problem}\n" for problem in problems)
              + f"{photos} photos read, {len(problems)} problems")
        sys.exit(1 if problems else 0)
    novel = None
    if options.fold is not None or options.novel_classes:
        novel = novel_class_ids(source.classes, fold=options.fold, layout=options.layout,
                                novel_classes=options.novel_classes)
    index = build_index(source, source.image_ids(options.split), options.pair_filter, progress=True)
    pairs = list(index.pairs)
    if novel is not None:
        pairs = split_pairs(index, novel, options.part or "novel", options.novel_policy or "drop")
    if options.output is None:
        sys.stdout.writelines(lines(pairs, source.classes))
        return
    write_text(options.output, "".join(lines(pairs, source.classes)))
    print(f"{len(pairs)} pairs of {len({p.image_id for p in pairs})} photos -> {options.output}")


def _refuse_unused(options):
    """UserError for an option that would do nothing beside the others."""
    if options.verify:
        beside, unused = "--verify", ("output", "fold", "novel_classes")
    elif options.fold is None and not options.novel_classes:
        beside, unused = "neither --fold nor --novel_classes", ("layout", "part", "novel_policy")
    elif options.part != "base":
        beside, unused = "--part novel", ("novel_policy",)
    else:
        return
    for name in unused:
        if getattr(options, name) is not None:
            raise UserError(f"--{name} {getattr(options, name)}: does nothing with {beside}; leave "
                            "it out")


if __name__ == "__main__":
    main()
