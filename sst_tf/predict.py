# SPDX-License-Identifier: Apache-2.0
"""`sst predict`: find marked classes in a folder of photos, in photos or a video.

Show a class by --support PHOTO=MARK, show all classes of an annotation tool's export by
--support_from, or take class cards that were saved before. A MARK is a mask picture, a file of
labelme, COCO, YOLO, VOC, Label Studio or CVAT, box:x0,y0,x1,y1 or scribbles:FILE (255 on the
object, 128 on background). Each photo gets NAME.index.png (0 background, 1, 2, ... the classes),
NAME.overlay.jpg and NAME.json; at the end all answers stand in --format, for an annotation tool to
open. Started again, it answers what is new: another photo, model, class or threshold.
"""

import re
import sys
from pathlib import Path

from jsonargparse.typing import PositiveInt

from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser
from sst_tf.photos import formats
from sst_tf.photos.annotations import parse_mark
from sst_tf.photos.inputs import (
    find_photos,
    others_in,
    single,
    told_of_answers,
    told_of_others,
    videos,
)
from sst_tf.photos.support import marked_answers, parse_pairs, support_from
from sst_tf.presets.options import add_model_options, check_model_options

OUTPUT = "predictions"


def _parser():
    parser = ArgumentParser(prog="sst predict", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--support", nargs="+", default=[], metavar="PHOTO=MARK",
                        help="marked photos of one class")
    parser.add_argument("--support_from", metavar="EXPORT",
                        help="file or folder that an annotation tool exported: every class in it "
                             "is looked for, every photo marked there teaches and keeps its marks")
    parser.add_argument("--photos", nargs="+", default=[],
                        help="with --support_from: folders of its photos (default: --input)")
    parser.add_argument("--name", help="name of the class of --support (default: object); with "
                                       "--support_from, the one class to look for")
    parser.add_argument("--card", nargs="+", default=[], help="class cards that --save_card wrote")
    parser.add_argument("--save_card", help="write what tuning left of --support, for --card")
    parser.add_argument("--input", nargs="+", default=[], help="folders, photos, videos")
    parser.add_argument("--output", help=f"folder of answers (default: {OUTPUT})")
    parser.add_argument("--format", nargs="+", choices=list(formats.FORMATS),
                        help="what annotation tools open (default: coco, predictions.json); some "
                             "need the extra `formats`")
    parser.add_argument("--photos_at", metavar="ADDRESS",
                        help="with --format label_studio: what comes before a photo's path in the "
                             "address that Label Studio fetches (default: "
                             f"{formats.label_studio.LOCAL_FILES})")
    parser.add_argument("--always_answer", action="store_true",
                        help="a mask even where the class seems absent")
    parser.add_argument("--tiles", type=PositiveInt, default=1,
                        help="2 or more for small objects in large photos: look at so many "
                             "overlapping crops side by side, too")
    parser.add_argument("--batch", type=PositiveInt, default=4, help="photos at once")
    parser.add_argument("--every", type=PositiveInt, default=1, help="every n-th frame of a video")
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    options = _parser().parse_args(argv)
    _check(options)
    output, chosen = options.output or OUTPUT, options.format or ["coco"]
    found, answers = find_photos(options.input, output)
    if line := told_of_others(others_in(options.input)):
        print(line, file=sys.stderr)
    formats.check(chosen, single(found))
    if options.input:
        _refuse_loss(options, Path(output), chosen)
    if line := told_of_answers(answers):
        print(line)
    # Before the model: reading it takes seconds.
    support, teachers = _support(options, found)
    targets = _targets(options.save_card, list(support))
    if teachers:
        keys = {one.key for one in teachers}
        found = [(key, path) for key, path in found if Path(key).as_posix() not in keys]
        print(f"{len(teachers)} photos keep their marks from {options.support_from}")
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from sst_tf.photos.answers import predict_files, write_video
    from sst_tf.photos.class_card import refuse_one_name
    from sst_tf.photos.predictor import Predictor

    empty = not options.always_answer
    if options.preset:
        predictor = Predictor.from_preset(options.preset, options.weights, empty, options.tiles)
    else:
        predictor = Predictor.from_run(options.run_dir, empty, options.tiles)
    cards = [predictor.add_card(path) for path in options.card]
    refuse_one_name([*(card.name for card in cards), *support])
    for path, card in zip(options.card, cards, strict=True):
        print(f"{path}: class {card.name!r}, {card.shots}-shot")
    for name, pairs in support.items():
        _tune(predictor, name, pairs, targets.get(name))
    if not found and not teachers:
        return
    done, failed, written, seen = predict_files(
        predictor, found, output, options.batch, options.every, chosen=chosen,
        photos_at=options.photos_at, marked=teachers)
    for key, path in videos(found):
        if video := write_video(output, key, path, options.every, done):
            print(f"written to {video}")
    print(f"{len(done)} answered, in {output}; "
          + ", ".join(f"{name!r} found in {count}" for name, count in seen.items()))
    if done and empty and not any(seen.values()):
        print("no class was found: --always_answer gives a mask all the same")
    for one in written:
        print(f"written to {one.root if isinstance(one, formats.Folder) else one}")
        if isinstance(one, formats.Folder) and one.kept:
            print(f"not written anew, as somebody changed them: {len(one.kept)} of its files, such "
                  f"as {one.kept[0]}")
    if failed:
        print(f"{len(failed)} not answered:\n" + "\n".join(failed.values()), file=sys.stderr)
        sys.exit(1)


def _check(options):
    """What goes with what."""
    check_model_options(options)
    if not (options.support or options.support_from or options.card):
        raise UserError("nothing to look for: --support PHOTO=MARK shows a class, --support_from "
                        "those of an export, --card takes one that was saved")
    if options.photos and not options.support_from:
        raise UserError("--photos: goes with --support_from; --input names the photos to answer")
    if options.photos_at is not None and "label_studio" not in (options.format or ()):
        raise UserError("--photos_at: goes with --format label_studio")
    for key in ("name", "save_card"):
        if getattr(options, key) and not (options.support or options.support_from):
            raise UserError(f"--{key}: goes with --support or --support_from; a card of --card is "
                            "what it is")
    for key in ("output", "format"):
        if getattr(options, key) and not options.input:
            raise UserError(f"--{key}: goes with --input, which names the photos to answer")


def _refuse_loss(options, output, chosen):
    """Somebody's marks are not overwritten with answers, which lack what was not asked for."""
    marks = [mark for _, mark in parse_pairs(options.support)] + [options.support_from or ""]
    for name in chosen:
        written = output / getattr(formats.FORMATS[name], "FILE", "")
        if written.is_file() and any(written.resolve() == Path(mark).resolve() for mark in marks):
            raise UserError(f"{written}: its marks teach, and --format {name} would overwrite it; "
                            "choose another --output")


def _support(options, found):
    """({class: [(photo, mark)]}, marked photos among those found, with their marks)."""
    support, marked = {}, {}
    if options.support:
        support[options.name or "object"] = pairs = [
            (photo, parse_mark(mark)) for photo, mark in parse_pairs(options.support)]
        for path in (one for pair in pairs for one in pair if isinstance(one, str)):
            if not Path(path).exists():
                raise UserError(f"--support: {path}: no such file or folder")
    if options.support_from:
        marked = support_from(options.support_from, options.photos or options.input,
                              None if options.support else options.name)
    for name, pairs in marked.items():
        support[name] = support.get(name, []) + pairs
    return support, marked_answers(marked, found)


def _targets(save_card, names):
    """{class: path of its card}."""
    if not save_card:
        return {}
    target, targets = Path(save_card), {}
    for name in names:
        own = target if len(names) == 1 else target.with_stem(
            target.stem + "_" + re.sub(r"[^\w-]+", "_", name))
        if own in targets.values():
            other = next(key for key, path in targets.items() if path == own)
            raise UserError(f"--save_card: cards of {other!r} and {name!r} would both be {own}; "
                            "take one at a time, by --name")
        targets[name] = own
    return targets


def _tune(predictor, name, pairs, target):
    """Show the model one class, tell what it made of it, keep its card."""
    from sst_tf.photos.teaching import advice

    photos, marks = zip(*pairs, strict=True)
    card = predictor.set_support(photos, marks, name)
    print(f"tuned {card.name!r} to {card.shots} photo(s), marked by "
          f"{', '.join(sorted(set(card.how)))}; their own IoU before and after the step: "
          + ", ".join(f"{a:.2f} and {b:.2f}" for a, b in
                      zip(card.score, card.score_after, strict=True)))
    for line in advice([str(photo) for photo in photos], card):
        print(f"look: {line}")
    if target:
        print(f"written to {card.save(target)}")


if __name__ == "__main__":
    main()
