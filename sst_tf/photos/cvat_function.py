# SPDX-License-Identifier: Apache-2.0
"""A CVAT auto-annotation function of class cards: CVAT asks, a model on this machine answers.

    cvat-cli task auto-annotate TASK --function-module sst_tf.photos.cvat_function \\
        -p preset=str:sst_resnet18 -p cards=str:mug.npz,plate.npz

Labels of the task that have a card's name are annotated, with a mask a class and photo.
"""

from typing import TYPE_CHECKING

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk.masks import encode_mask
from PIL import ImageOps

from pipelines.errors import UserError
from pipelines.reading.photos import rgb_of
from sst_tf.photos.class_card import refuse_one_name
from sst_tf.photos.formats.outlines import outlines
from sst_tf.photos.predictor import Predictor

if TYPE_CHECKING:
    import PIL.Image
    from cvat_sdk.models import LabeledShapeRequest


class Function:
    """Of the interface `cvat_sdk.auto_annotation.DetectionFunction`.

    Args:
        predictor: whose classes are looked for.

    Attributes:
        spec: the classes as CVAT's labels of type mask.
    """

    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        self.spec = cvataa.DetectionFunctionSpec(labels=[
            cvataa.label_spec(name, number, type="mask")
            for number, name in enumerate(predictor.cards, start=1)])

    def detect(self, context: cvataa.DetectionFunctionContext, image: "PIL.Image.Image"
               ) -> list["LabeledShapeRequest"]:
        """What is found in a photo: masks, or the polygons of their parts where CVAT asks so.

        A class counts as found where its score reaches `context.conf_threshold`, and the threshold
        that base classes set.
        """
        upright = rgb_of(ImageOps.exif_transpose(image), "a photo of CVAT's")
        scene, = self.predictor.predict_all([upright])
        shapes = []
        for number, one in enumerate(scene.predictions.values(), start=1):
            mask = scene.index == number
            if not mask.any() or one.score < (context.conf_threshold or 0):
                continue
            if context.conv_mask_to_poly:
                shapes += [cvataa.polygon(number, part.ravel().astype(float).tolist())
                           for part in outlines(mask)]
            else:
                shapes.append(cvataa.mask(number, [float(run) for run in encode_mask(mask)]))
        return shapes


def create(cards: str, preset: str | None = None, run_dir: str | None = None,
           weights: str | None = None, always_answer: bool = False) -> Function:
    """What cvat-cli calls, with `-p NAME=TYPE:VALUE` as arguments.

    Args:
        cards: paths of class cards (`sst predict --save_card`), commas between them.
        preset: name or file of the preset that the cards were made with.
        run_dir: or the run.
        weights: with a preset, file of the backbone's weights.
        always_answer: a mask even where a class seems absent.
    Raises:
        UserError: both or none of preset and run, no such file, a card of another model.
    """
    if (preset is None) == (run_dir is None):
        raise UserError("cvat_function: preset or run_dir is expected, such as "
                        "-p preset=str:sst_resnet18")
    predictor = (Predictor.from_preset(preset, weights, not always_answer) if preset is not None
                 else Predictor.from_run(str(run_dir), not always_answer))
    added = [predictor.add_card(path.strip()) for path in filter(None, cards.split(","))]
    if not added:
        raise UserError("cvat_function: no class card, such as -p cards=str:mug.npz")
    refuse_one_name([card.name for card in added])
    return Function(predictor)
