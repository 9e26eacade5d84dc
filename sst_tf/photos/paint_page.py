# SPDX-License-Identifier: Apache-2.0
"""A local page: paint a class in a photo, find it in others."""

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipelines.errors import DataError, UserError
from sst_tf.config import Config
from sst_tf.data.run_data import open_data
from sst_tf.photos import annotations
from sst_tf.photos.class_card import ClassCard
from sst_tf.photos.inputs import files_in
from sst_tf.photos.predictor import Predictor
from sst_tf.reporting import drawing
from sst_tf.reporting.figures import heat

if TYPE_CHECKING:
    import gradio as gr  # of the extra `demo`

MARKS = {"mask": "The whole object is painted", "box": "A box: what I painted, framed",
         "scribbles": "A few strokes inside the object"}
MAX_SHOTS = 10
SAMPLES = 12
SHOWN_SIDE = 480  # of the pictures that the page shows


@dataclass(frozen=True)
class Shot:
    """A marked photo as the page keeps it: what was learnt, and two pictures, not the photo."""

    card: ClassCard
    marked: np.ndarray
    gradient: np.ndarray

    @property
    def text(self) -> str:
        """How it was marked and how well it segments itself, in words."""
        return (f"{self.card.how[0]}; own IoU {self.card.score[0]:.2f}, after the step "
                f"{self.card.score_after[0]:.2f}")


class Desk:
    """What the page's buttons do, on one model.

    Args:
        predictor: `Predictor`; its classes are replaced at each answer.
    """

    def __init__(self, predictor: Predictor):
        self.predictor, self._warm = predictor, set()
        blank = np.zeros((64, 64, 3), np.uint8)
        self.mark(blank, np.eye(64, dtype=bool), "mask")  # the first run traces the graph

    def mark(self, image: np.ndarray, strokes: np.ndarray, kind: str) -> tuple[Shot, float]:
        """A `Shot` and the seconds that tuning took.

        Args:
            image: uint8 [H, W, 3] RGB.
            strokes: bool [H, W], what was painted.
            kind: a key of `MARKS`.
        """
        if not strokes.any():
            raise DataError("nothing is painted: mark the object with the brush")
        mask, how = annotations.mask_of(_mark(strokes, kind), image, "the photo")
        start = time.perf_counter()
        card = replace(self.predictor.set_support(image, mask), how=(how,))
        seconds = time.perf_counter() - start
        moved = self.predictor.step_map(image, mask)
        return Shot(card, _shown(drawing.overlay(image, mask, drawing.GREEN)),
                    _shown(heat(image, moved))), seconds

    def answer(self, shots: list[Shot], image: np.ndarray, always: bool
               ) -> tuple[np.ndarray, np.ndarray, str]:
        """(query tuned, query untuned, what to say) of a photo under one or several shots."""
        card = ClassCard.joined([shot.card for shot in shots])
        self.predictor.cards, self.predictor.empty = {card.name: card}, not always
        if card.shots not in self._warm:  # each number of shots is traced once
            self._warm.add(card.shots)
            self.predictor.predict_all([image])
        start = time.perf_counter()
        tuned = self.predictor.predict(image)
        seconds = time.perf_counter() - start
        untuned = self.predictor.predict_all([image], tuned=False)[0].predictions[card.name]
        threshold = self.predictor.presence_threshold(card.shots)
        words = (f"{card.shots} shot(s). Answered in {1000 * seconds:.0f} ms. Score "
                 f"{tuned.score:.2f} with the step, {untuned.score:.2f} without; ")
        if not tuned.present:
            words += f"below {threshold:.2f}, so the class counts as absent."
        else:
            both = tuned.mask & untuned.mask
            union = max(int((tuned.mask | untuned.mask).sum()), 1)
            words += (f"{tuned.mask.mean():.1%} of the photo is the class; the two answers overlap "
                      f"by {both.sum() / union:.2f} (IoU).")
        return (*(_shown(drawing.overlay(image, one.mask, drawing.ORANGE))
                  for one in (tuned, untuned)), words)


def _mark(strokes, kind):
    if kind == "scribbles":
        return annotations.Scribbles(strokes)
    if kind == "box":
        rows, columns = np.nonzero(strokes)
        return annotations.Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return strokes


def _shown(picture):
    """At the page's size, larger or smaller."""
    scale = SHOWN_SIDE / max(picture.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def samples(config: Config, folder: str | Path, photos_folder: str | Path | None = None
            ) -> list[str]:
    """Paths of photos to pick from: of a folder, or novel classes of the run's own data.

    Of a run without novel classes: photos that were held out from training.
    """
    if photos_folder:
        found = files_in(Path(photos_folder))
        if not found:
            raise UserError(f"--photos {photos_folder}: no photo in it")
        return [str(p) for p in found[:SAMPLES]]
    try:
        data = open_data(config)
    except DataError:
        return []  # the photos of the training are elsewhere: uploads only
    by_class = {}
    for pair in data.novel or data.validation:
        by_class.setdefault(pair.class_id, []).append(pair.image_id)
    share = -(-SAMPLES // len(by_class))
    names = list(dict.fromkeys(n for ids in by_class.values() for n in ids[:share]))[:SAMPLES]
    paths = []
    for number, name in enumerate(names):
        path = Path(folder) / f"sample{number:02d}.png"
        Image.fromarray(np.asarray(data.source.read_image(name))).save(path)
        paths.append(str(path))
    return paths


def page(desk: Desk, examples: list[str], title: str) -> "gr.Blocks":
    """The page as `gradio.Blocks`."""
    gr = gradio()

    def add(value, kind, shots, photo):
        if value is None or value.get("background") is None:
            raise gr.Error("choose a photo first")
        if len(shots) >= MAX_SHOTS:
            raise gr.Error(f"{MAX_SHOTS} shots at most; start over to mark others")
        image = np.ascontiguousarray(value["background"][..., :3])
        strokes = np.any([layer[..., 3] > 0 for layer in value["layers"]], axis=0)
        shot, seconds = _tell(gr, desk.mark, image, strokes, kind)
        shots = [*shots, shot]
        return (shots, gallery(shots), (photo[0] + 1, None), f"Shot {len(shots)} tuned in "
                f"{1000 * seconds:.0f} ms: {shot.text}.")

    def gallery(shots):
        return [pair for number, shot in enumerate(shots, start=1) for pair in (
            (shot.marked, f"shot {number}: {shot.text}"), (shot.gradient, f"gradient {number}"))]

    def pick(photo, event: gr.SelectData):  # type: ignore[name-defined]
        return photo[0] + 1, examples[event.index]

    def search(shots, image, always):
        if not shots:
            raise gr.Error("add a marked photo first")
        if image is None:
            raise gr.Error("choose a photo to search")
        return _tell(gr, desk.answer, shots, image, always)

    def card(shots):
        if not shots:
            raise gr.Error("add a marked photo first")
        folder = tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"])
        return str(ClassCard.joined([s.card for s in shots]).save(Path(folder) / "class-card.npz"))

    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        shots = gr.State([], time_to_live=3600)
        photo = gr.State((0, None))  # how many there were, path of the one to mark
        kind = gr.Radio([(text, key) for key, text in MARKS.items()], value="mask", render=False,
                        label="What I painted (box and strokes: GrabCut guesses the mask)")
        adding = gr.Button("Add this shot", variant="primary", elem_id="add", render=False)
        said = gr.Textbox(label="What happened", elem_id="said", interactive=False, render=False)
        marked = gr.Gallery(label="Shots: what was marked, and where the step moves the features",
                            elem_id="shots", columns=4, height="auto", format="png", render=False,
                            object_fit="contain", buttons=["fullscreen"])
        alone = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
        gr.Markdown(f"# {title}\nPaint the object in one photo, add more photos of it if you like, "
                    "then look for it in another.")
        with gr.Row():
            with gr.Column():
                @gr.render(inputs=photo)
                def _(chosen):
                    # A new editor for each photo: a used one does not paint on another photo
                    # that it is given (gradio-app/gradio#10614).
                    editor = gr.ImageEditor(
                        chosen[1], label="1. A photo with the object", image_mode="RGBA",
                        interactive=True, layers=False, transforms=(), sources=("upload",),
                        elem_id="support", canvas_size=(640, 480), brush=gr.Brush(
                            default_size=16, colors=["#32cd32"], color_mode="fixed"))
                    adding.click(add, [editor, kind, shots, photo],
                                 [shots, marked, photo, said], **alone)
                kind.render()
                adding.render()
                if examples:
                    picking = gr.Gallery(examples, label="Photos to mark", columns=5,
                                         height=290, allow_preview=False, object_fit="cover",
                                         elem_id="examples_support", interactive=False, buttons=[])
                    picking.select(pick, photo, photo, api_visibility="private")
            with gr.Column():
                query = gr.Image(label="2. A photo to search", sources=("upload",),
                                 elem_id="query", height=348, buttons=[])
                always = gr.Checkbox(label="Always answer, even where the class seems absent")
                searching = gr.Button("Segment", variant="primary", elem_id="segment")
                if examples:
                    gr.Examples([[path] for path in examples], [query], label="Photos to search",
                                elem_id="examples_query", examples_per_page=SAMPLES)
        said.render()
        with gr.Row():
            shown = {"interactive": False, "format": "png", "height": 360,
                     "buttons": ["fullscreen", "download"]}
            tuned = gr.Image(label="With the step (tuned)", elem_id="tuned", **shown)
            untuned = gr.Image(label="Without it", elem_id="untuned", **shown)
        marked.render()
        with gr.Row():
            clearing = gr.Button("Start over", elem_id="clear")
            saving = gr.DownloadButton("Save the class card", elem_id="card")
        searching.click(search, [shots, query, always], [tuned, untuned, said], **alone)
        clearing.click(lambda: ([], [], None, None, "Start by painting."), None,
                       [shots, marked, tuned, untuned, said], api_visibility="private")
        saving.click(card, shots, saving, api_visibility="private")
    return blocks.queue(max_size=16)


def _tell(gr, function, *arguments):
    """Our own errors as messages of the page."""
    try:
        return function(*arguments)
    except UserError as error:
        raise gr.Error(str(error)) from None


def gradio() -> ModuleType:
    """The library, or an error that says how to get it."""
    try:
        import gradio as library
    except ImportError:
        raise UserError("the page needs the extra `demo` (pip install 'sst-tf[demo]')") from None
    return library
