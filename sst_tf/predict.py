# SPDX-License-Identifier: Apache-2.0
"""`python -m sst_tf.predict`: find marked classes in a folder of photos, in photos or a video.

Show a class by --support PHOTO=MARK, or take class cards that were saved before. A MARK is a mask
picture, a labelme or COCO JSON file, box:x0,y0,x1,y1 or scribbles:FILE (255 on the object, 128 on
background). Each photo gets NAME.index.png (0 background, 1, 2, ... the classes), NAME.overlay.jpg
and NAME.json; at the end all answers stand in predictions.json in COCO's form. Started again, it
answers what is new: another photo, model, class or threshold.
"""

import sys

from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser
from sst_tf.photos.annotations import parse_mark
from sst_tf.photos.inputs import find_photos, videos
from sst_tf.presets.options import add_model_options, check_model_options


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="python -m sst_tf.predict", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--support", nargs="+", default=[], metavar="PHOTO=MARK",
                        help="marked photos of one class")
    parser.add_argument("--name", default="object", help="name of that class")
    parser.add_argument("--card", nargs="+", default=[], help="class cards that --save_card wrote")
    parser.add_argument("--save_card", help="write what tuning left of --support, for --card")
    parser.add_argument("--input", nargs="+", default=[], help="folders, photos, videos")
    parser.add_argument("--output", default="predictions", help="folder of answers")
    parser.add_argument("--always_answer", action="store_true",
                        help="a mask even where the class seems absent")
    parser.add_argument("--tiles", type=int, default=1,
                        help="2 or more for small objects in large photos: look at so many "
                             "overlapping crops side by side, too")
    parser.add_argument("--batch", type=int, default=4, help="photos at once")
    parser.add_argument("--every", type=int, default=1, help="every n-th frame of a video")
    options = parser.parse_args(argv)
    check_model_options(options)
    if not options.support and not options.card:
        raise UserError("nothing to look for: --support PHOTO=MARK shows a class, --card takes "
                        "one that was saved")
    if options.tiles < 1:
        raise UserError(f"--tiles {options.tiles}: expected 1 (the whole photo alone) or more")
    found, answers = find_photos(options.input, options.output)
    if answers:
        print(f"{answers} pictures left out: answers of an earlier run")
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from sst_tf.photos.answers import predict_files, write_video
    from sst_tf.photos.predictor import Predictor
    from sst_tf.photos.teaching import advice

    empty = not options.always_answer
    if options.preset:
        predictor = Predictor.from_preset(options.preset, options.weights, empty, options.tiles)
    else:
        predictor = Predictor.from_run(options.run_dir, empty, options.tiles)
    for path in options.card:
        card = predictor.add_card(path)
        print(f"{path}: class {card.name!r}, {card.shots}-shot")
    if options.support:
        pairs = [pair.rpartition("=")[::2] for pair in options.support]
        if any(not photo or not mark for photo, mark in pairs):
            raise UserError("--support: PHOTO=MARK is expected, such as mug.jpg=mug_mask.png")
        card = predictor.set_support([photo for photo, _ in pairs],
                                     [parse_mark(mark) for _, mark in pairs], options.name)
        print(f"tuned {card.name!r} to {card.shots} photo(s), marked by "
              f"{', '.join(sorted(set(card.how)))}; their own IoU before and after the step: "
              + ", ".join(f"{a:.2f} and {b:.2f}" for a, b in
                          zip(card.score, card.score_after, strict=True)))
        for line in advice([photo for photo, _ in pairs], card.cells, card.score_after,
                           card.others):
            print(f"look: {line}")
        if options.save_card:
            print(f"written to {card.save(options.save_card)}")
    if not found:
        return
    done, failed = predict_files(predictor, found, options.output, max(1, options.batch),
                                 max(1, options.every))
    for key, path in videos(found):
        if target := write_video(options.output, key, path, max(1, options.every)):
            print(f"written to {target}")
    print(f"{len(done)} answered, in {options.output}")
    if failed:
        print(f"{len(failed)} not answered:\n" + "\n".join(failed.values()), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
