# SPDX-License-Identifier: Apache-2.0
"""A page's folder: made of a model, compared with `Predictor`, then put in its place."""

import functools
import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from export import page_graphs, page_libraries
from export.onnx_files import OnnxModel
from pipelines import open_source
from pipelines.errors import UserError
from pipelines.writing import making, write_json
from sst_tf import __version__
from sst_tf.photos.class_card import ClassCard
from sst_tf.photos.predictor import Predictor

if TYPE_CHECKING:
    from export.int8 import Trials

PAGE = page_libraries.HERE
STATIC = ("index.html", "page.css", "page.js")
FACTS = "model.json"
ENTRIES = {*STATIC, FACTS, "lib", "examples"}  # beside the ONNX files
MAX_SHOTS = 10
EXAMPLES, EXAMPLE_SIZE = 6, 257
# Of probabilities. A photo is resized by another order of sums than TensorFlow's, so that one of
# its values may be rounded to a neighbour, 1 of 255.
TOLERANCE = 5e-3


def write(predictor: Predictor, output: str | Path, name: str, modules: Path | None = None,
          trials: "Trials | None" = None) -> tuple[Path, float]:
    """Write the page's folder; returns it and float32's largest difference from `Predictor`.

    Args:
        predictor: whose model the page runs; its classes are left as they are.
        output: a folder that is not there, or holds a page, which is replaced. A link stays one;
            the folder that it leads to is meant.
        name: of the model, for people.
        modules: `node_modules` of the page's lock file; npm fetches it by default.
        trials: on which the encoder in 8 bits must score as in float32; None leaves it as it is.
    Raises:
        UserError: another folder at `output`, no libraries, or files that answer otherwise.
    """
    output = Path(os.path.realpath(output))  # "." cannot be renamed, of a link the link alone
    check_place(output)
    modules = modules or page_libraries.fetch()
    with making(output.parent) as partial:
        folder = partial / "page"
        folder.mkdir()
        for file in STATIC:
            shutil.copyfile(PAGE / file, folder / file)
        page_libraries.copy(modules, folder / "lib")
        _convert(predictor, folder)
        shown, photos, masks = _draw(predictor)
        worst = _compare(predictor, folder, photos, masks)
        narrow = {"int8": _narrow(trials, folder)} if trials else {}
        write_json(folder / FACTS, _facts(predictor, name) | narrow | {
            "examples": {"name": shown} | _keep(folder, photos, masks),
            "expected": _prototype(page_model(folder), photos[0], masks[0])})
        _put(folder, output, partial / "before")
    return output, worst


def _put(folder, output, before):
    """Rename a folder to `output`, in one move: half a page is no page.

    What is there goes to `before`, and comes back if that fails.
    """
    try:
        if output.exists():
            os.rename(output, before)
        os.rename(folder, output)
    finally:
        if before.exists() and not output.exists():
            os.rename(before, output)


def check_place(output: Path) -> None:
    """UserError where a page's folder would take the place of anything but a page.

    `output`: without links, as `os.path.realpath` gives it.
    """
    if output.is_symlink():
        raise UserError(f"--output {output}: a link that leads in a circle; name a folder")
    if not output.exists():
        return
    if os.path.ismount(output):
        raise UserError(f"--output {output}: a disk or volume is mounted there, which cannot be "
                        f"replaced; name a folder inside it, as {output / 'page'}")
    if output == Path.cwd():
        raise UserError(f"--output {output}: the folder that this command runs in cannot be "
                        "replaced; name another")
    if not output.is_dir():
        raise UserError(f"--output {output}: a file; name a new folder")
    others = sorted({one.name for one in output.iterdir()} - ENTRIES - {
        f"{name}.onnx" for name in page_graphs.NAMES})
    if others:
        raise UserError(f"--output {output}: holds {others[0]}, which is no part of a page and "
                        "would be lost; name a new folder")


def page_model(folder: Path) -> OnnxModel:
    """A page's ONNX files in onnxruntime: what the browser does, in Python."""
    return OnnxModel(folder, ["CPUExecutionProvider"], names=page_graphs.NAMES)


def _convert(predictor, folder):
    from export import onnx_graph  # its packages come with the extra `onnx`
    graphs = page_graphs.PageGraphs(predictor)
    for name, function in graphs.functions().items():
        model = onnx_graph.convert(function, graphs.specs()[name], batched=False)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())


def _narrow(trials, folder):
    return trials.narrow(
        folder, ("embed",), lambda folder: functools.partial(_segment, page_model(folder)),
        lambda name, photos, model: ({"photo": image} for image, _ in photos))


def _segment(model, _, episode):
    """The signature `segment` by the page's files, of one episode."""
    taught = [_teach(model, photo, mask) for photo, mask in zip(
        episode["support_image"][0], episode["support_mask"][0], strict=True)]
    query = episode["query_image"][0]
    return model.run("segment_many", {
        "features": model.run("embed", {"photo": query})["features"],
        "size": np.array(query.shape[:2], np.int32), **_card(taught)})


def _teach(model, photo, mask):
    features = model.run("embed", {"photo": photo})["features"]
    return model.run("tune", {"features": features, "mask": mask})


def _card(taught):
    """Inputs of `segment_many` for one class of these shots."""
    return {"prototype": np.stack([one["prototype"] for one in taught])[None],
            "score": np.concatenate([one["score"] for one in taught])[None]}


def _prototype(model, photo, mask):
    """What a browser can check."""
    return [round(float(value), 6) for value in _teach(model, photo, mask)["prototype"]]


def _facts(predictor, name):
    with warnings.catch_warnings():  # that a number of shots has the nearest one's point
        warnings.simplefilter("ignore")
        points = [{"threshold": predictor.threshold(k), "presence": predictor.presence_threshold(k)}
                  for k in range(1, MAX_SHOTS + 1)]
    return {"name": name, "model_sha256": predictor.model_sha256,
            "backbone": predictor.config.model.backbone,
            "image_size": predictor.config.data.image_size, "points": points,
            "version": __version__}


def _draw(predictor):
    """Pictures to start with, and their masks: one class, which training did not know if possible.

    (Its name, uint8 [H, W, 3], uint8 [H, W] of 0 and 1); the last picture lacks the class.
    """
    source = open_source("shapes", image_size=EXAMPLE_SIZE, count=400)
    novel = [source.classes.index(one) + 1 for one in predictor.config.data.novel_classes or ()
             if one in source.classes]
    chosen = novel[0] if novel else source.classes.index("star") + 1
    shown, lacking = [], []
    for one in source.image_ids("all"):  # each is drawn when it is asked for
        if chosen not in source.class_masks(one):
            lacking.append(one)
        elif 0.08 < (source.class_mask(one, chosen) == 1).mean() < 0.3:
            shown.append(one)
        if len(shown) == EXAMPLES - 1 and lacking:
            break
    names = [*shown, lacking[0]]
    return (source.classes[chosen - 1], [np.asarray(source.read_image(one)) for one in names],
            [source.class_mask(one, chosen) for one in names[:-1]])


def _keep(folder, photos, masks):
    """Write pictures, and the mark of the first; returns their paths."""
    (folder / "examples").mkdir()
    paths = [f"examples/picture{number}.png" for number in range(1, len(photos) + 1)]
    for path, photo in zip(paths, photos, strict=True):
        cv2.imwrite(str(folder / path), photo[..., ::-1])
    cv2.imwrite(str(folder / "examples" / "mark1.png"), (masks[0] == 1) * np.uint8(255))
    return {"mark": "examples/mark1.png", "photos": paths}


def _compare(predictor, folder, photos, masks):
    """The largest difference of probability from `Predictor`.

    Of one and of two shots, of a photo of another shape. UserError where it is too large.
    """
    model, worst = page_model(folder), 0.0
    wide = cv2.resize(photos[2], (400, 150), interpolation=cv2.INTER_AREA)
    tuned = [_teach(model, *one) for one in zip(photos[:2], masks[:2], strict=True)]
    asked = Predictor(predictor.config, predictor.model, predictor.model_sha256,
                      predictor.operating_point, empty=False)
    for shots in (1, 2):
        card: ClassCard = asked.set_support(photos[:shots], masks[:shots], "class")
        given = _card(tuned[:shots])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scenes = asked.predict_all([photos[1], wide])
        expected = [scene.predictions["class"] for scene in scenes]
        for query, answer in zip((photos[1], wide), expected, strict=True):
            features = model.run("embed", {"photo": query})["features"]
            got = model.run("segment_many", {
                "features": features, "size": np.array(query.shape[:2], np.int32), **given})
            found = max(float(np.max(np.abs(got["probability"][0] - answer.probability))),
                        abs(float(got["presence"][0]) - answer.score),
                        float(np.max(np.abs(given["score"][0] - card.score))))
            if not found <= TOLERANCE:
                raise UserError(f"the page's files differ from the Keras model by {found:.1e} (at "
                                f"most {TOLERANCE:.0e} is allowed); nothing was written")
            worst = max(worst, found)
    return worst
