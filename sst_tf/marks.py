"""`python -m sst_tf.marks RUN`: what boxes, scribbles and polygons cost beside exact masks.

Marks are made from the true masks as a person might draw them; everything else stays as in
`sst_tf.evaluate`, episodes too.
"""

import cv2
import numpy as np

from pipelines.commands import command
from pipelines.errors import DataError
from pipelines.transforms import resize_class_mask
from sst_tf import metrics, prompts
from sst_tf.config import ArgumentParser
from sst_tf.episodes import open_data
from sst_tf.evaluation import PhotoBank, score
from sst_tf.features import open_store
from sst_tf.runs import Run


def box(mask):
    """The object's bounding box."""
    rows, columns = np.nonzero(mask == 1)
    return prompts.Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def scribbles(mask):
    """A stroke along the inside of each part, and one around the object."""
    inside = (mask == 1).astype(np.uint8)
    depth = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    count, parts = cv2.connectedComponents(inside)
    core = np.zeros(mask.shape, bool)
    for part in range(1, count):
        here = parts == part
        core |= here & (depth >= 0.7 * depth[here].max())
    reach = max(3, round(0.04 * max(mask.shape)))
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    return prompts.Scribbles(core, (away > reach) & (away <= reach + 2))


def polygon(mask):
    """Outlines with corners left out up to 1 % of their length."""
    outlines, _ = cv2.findContours((mask == 1).astype(np.uint8), cv2.RETR_EXTERNAL,
                                   cv2.CHAIN_APPROX_NONE)
    parts = [cv2.approxPolyDP(one, 0.01 * cv2.arcLength(one, True), True)[:, 0]
             for one in outlines]
    return prompts.Polygon([part for part in parts if len(part) >= 3])


KINDS = {"mask": None, "polygon": polygon, "box": box, "scribbles": scribbles}


class MarkedBank(PhotoBank):
    """A bank whose supports are marked in another way than by their true masks.

    Attributes:
        iou: {(photo, class): IoU of the mask made from the mark with the true one}.
    """

    def __init__(self, make, *arguments):
        super().__init__(*arguments)
        self.make, self.iou = make, {}

    def support_mask(self, name, class_id):
        true = self.source.class_mask(name, class_id)
        try:
            mask, _ = prompts.mask_of(self.make(true), self.source.read_image(name), name)
        except DataError:  # GrabCut found nothing: a person would fall back on the mark itself
            mask = _filled(self.make(true), true)
        counted = true != 255
        both = ((mask == 1) & (true == 1))[counted].sum()
        self.iou[name, class_id] = both / ((mask == 1) | (true == 1))[counted].sum()
        return np.asarray(resize_class_mask(mask, self.size[0], self.resize))


def _filled(mark, true):
    mask = np.zeros(true.shape, np.uint8)
    if isinstance(mark, prompts.Box):
        mask[int(mark.y0):int(mark.y1), int(mark.x0):int(mark.x1)] = 1
    elif isinstance(mark, prompts.Scribbles):
        mask[mark.foreground] = 1
    else:
        mask[true == 1] = 1  # a polygon of a sliver
    return mask


@command
def main(argv=None):
    parser = ArgumentParser(prog="python -m sst_tf.marks", description=__doc__)
    parser.add_argument("run", help="run directory")
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=400)
    options = parser.parse_args(argv)
    run = Run.open(options.run)
    config, model = run.config(), run.model()
    data = open_data(config, progress=True)
    store = open_store(config, model, data)
    episodes = data.sampler("novel", options.shots, config.evaluate.seed).take(options.episodes)
    known = run.thresholds().get(str(options.shots), {"tuned": metrics.HALF})["tuned"]
    print(f"{options.run}: {options.shots}-shot, {len(episodes)} episodes of novel classes, "
          f"threshold {known / metrics.BINS:.2f} of exact masks")
    print("| support marked by | IoU of its mask | mIoU | 95 % over photos | minus exact | 95 % |")
    print("|---|---|---|---|---|---|")
    exact = None
    for kind, make in KINDS.items():
        arguments = (data.source, episodes, config.data.image_size, store, config.data.resize)
        bank = MarkedBank(make, *arguments) if make else PhotoBank(*arguments)
        counts = score(model, bank, episodes, config.evaluate.batch).counts["tuned"]
        weights = metrics.photo_weights(counts, config.evaluate.resamples)
        at, spread = metrics.mean_iou(counts, known), metrics.mean_iou(counts, known, weights)
        exact = exact or (at, spread)
        texts = [f"{np.mean(list(bank.iou.values())):.2f}" if make else "1", f"{at:.3f}",
                 "{:.3f} .. {:.3f}".format(*metrics.interval(spread))]
        texts += [f"{at - exact[0]:+.3f}", "{:+.3f} .. {:+.3f}".format(
            *metrics.interval(spread - exact[1]))] if make else ["", ""]
        print(f"| {kind} | " + " | ".join(texts) + " |", flush=True)


if __name__ == "__main__":
    main()
