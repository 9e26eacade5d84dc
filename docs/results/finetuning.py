# SPDX-License-Identifier: Apache-2.0
"""What training on five marked photos a class brings, on classes that the model never saw.

    python docs/results/finetuning.py runs/pascal5i_resnet18 --seeds 0 1 2
    python docs/results/finetuning.py runs/pascal5i_resnet18 --train.epochs 4

Five photos of each novel class of the run's fold are drawn, `configs/finetune.yaml` trains on them
from the run, and both models are shown the same five and asked for the class in all other photos
that show it. Paired over the photos that are asked. Further options are the training's, whose
settings were chosen on fold 0 alone; the others' classes had no say.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from opened import Opened
from paired import counted, gain, miou

from sst_tf import train
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.runs.directory import Run

SHOTS = 5


class Fold(Opened):
    """A run, and what it and those trained from it answer."""

    def __init__(self, folder):
        super().__init__(folder)
        self.photos = {}
        for pair in self.data.novel:
            self.photos.setdefault(pair.class_id, set()).add(pair.image_id)
        self.masks = self.bank("novel", [])
        self.store.ensure(sorted(set().union(*self.photos.values())))

    def drawn(self, seed):
        """{class id: (five photos, the others)}."""
        rng, found = np.random.default_rng(seed), {}
        for class_id, names in sorted(self.photos.items()):
            mixed = rng.permutation(sorted(names))
            found[class_id] = (list(mixed[:SHOTS]), list(mixed[SHOTS:]))
        return found

    def write(self, drawn, folder):
        """The photos as people would have them: folder/CLASS/NAME.jpg and .png."""
        source = self.data.source
        for class_id, (names, _) in drawn.items():
            place = Path(folder) / source.classes[class_id - 1]
            place.mkdir(parents=True)
            for number, name in enumerate(names):
                cv2.imwrite(str(place / f"{number}.jpg"), source.read_image(name)[..., ::-1],
                            [cv2.IMWRITE_JPEG_QUALITY, 98])
                mask = source.class_mask(name, class_id)
                cv2.imwrite(str(place / f"{number}.png"), mask)

    def counts(self, run, drawn):
        """{(class id, photo): (intersection, union)} at the run's own operating point."""
        inference, found = run.model().inference, {}
        threshold = OperatingPoint(run).threshold(SHOTS)
        for class_id, (supports, queries) in drawn.items():
            marks = np.stack([self.masks.mask(name, class_id) for name in supports])
            tuned = inference.tune(self.embedded(inference, supports), tf.constant(marks))
            for name in queries:
                truth = self.masks.mask(name, class_id)
                answer = inference.segment(
                    self.embedded(inference, [name]), tuned.prototype[None], tuned.score[None],
                    truth.shape, *self.config.model.answering)[0].numpy() >= threshold
                found[class_id, name] = counted(answer, truth)
        return found

    def embedded(self, inference, names):
        return inference.embed_features(np.stack([self.store.read(name) for name in names]))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the five photos")
    options, training = parser.parse_known_args()
    fold, before, after, keys = Fold(options.run), {}, {}, []
    for seed in options.seeds:
        drawn = fold.drawn(seed)
        with tempfile.TemporaryDirectory() as folder:
            fold.write(drawn, f"{folder}/photos")
            own = fold.config.model
            train.main(["finetune", "--data.root", f"{folder}/photos", "--train.init", options.run,
                        "--model.backbone", own.backbone, "--model.channels", str(own.channels),
                        "--model.weights", own.weights, "--train.cache_dir", f"{folder}/cache",
                        "--train.seed", str(seed), "--run_dir", f"{folder}/run",
                        "--skip_evaluation", *training])
            for kept, run in ((before, fold.run), (after, Run.open(f"{folder}/run"))):
                kept |= {(class_id, (seed, name)): pair for (class_id, name), pair
                         in fold.counts(run, drawn).items()}
            shutil.rmtree(f"{folder}/run")
    keys = sorted(before)
    classes = [class_id for class_id, _ in keys]
    one, other = ([kept[key] for key in keys] for kept in (before, after))
    difference, low, high = gain(other, one, classes, [(name, name) for _, (_, name) in keys])
    print(f"fold {fold.config.data.fold}, {len(options.seeds)} draws of five photos a class, "
          f"{len(keys)} answers: as it is {miou(one, classes):.3f}, trained on "
          f"{miou(other, classes):.3f}, {difference:+.3f} ({low:+.3f} .. {high:+.3f})")


if __name__ == "__main__":
    main()
