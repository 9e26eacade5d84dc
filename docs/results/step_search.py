# SPDX-License-Identifier: Apache-2.0
"""Which inner step helps, asked of COCO classes that are novel in no fold of PASCAL-5i.

    python docs/results/step_search.py base --seed 0 --steps 500
    python docs/results/step_search.py crop --seed 0 --steps 300     # none, self, mirror, ...

`base` trains + auxiliary at a constant rate and keeps its weights; every other mode goes on from
them under its own inner step, all on the same episodes, to a rate of zero, and is scored on 1,000
episodes. So modes differ in the step alone: a smaller spread than between whole trainings. Results
are lines of `results.jsonl`, counts of every episode `MODE_SEED_SHOTS.npz`.
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipelines import episode_dataset
from pipelines.reading.crops import box
from pipelines.reading.transforms import resize_class_mask
from sst_tf import config as configuration
from sst_tf.data.feature_store import FeatureStore, open_store
from sst_tf.data.run_data import open_data
from sst_tf.data.seeds import evaluation_seed
from sst_tf.evaluation import metrics
from sst_tf.evaluation.metrics import Counts
from sst_tf.model import losses
from sst_tf.model.found import found_summary, look, mixed
from sst_tf.model.layers import grid, merge, norm, pool_weights, split
from sst_tf.model.methods.panet import PANet
from sst_tf.model.segmenter import Segmentation, SSTSegmenter
from sst_tf.runs import factory
from sst_tf.training.precision import products

NOVEL = ["oven", "refrigerator", "toilet", "laptop", "bed", "pizza", "keyboard", "truck",
         "broccoli", "umbrella", "bench", "teddy bear", "elephant", "giraffe", "donut", "cake",
         "suitcase", "sandwich", "bear", "zebra"]
DEFAULT = {"views": (), "size": 0.1, "steps": 1, "gate": False, "channel": False, "raw": False,
           "shots": 1, "look": False, "whole": False, "start": 0.0}
MODES = {  # what the inner loss is taken on
    "base": {"steps": 0},
    "none": {"steps": 0},
    "none2": {"steps": 0, "shots": 2},  # trained with two supports
    "self": {"views": ("self",)},  # the support itself: Eq. 10, 11
    "prototype": {"views": ("prototype",)},  # the same through the support role alone
    "direction": {"views": ("self",), "whole": True},  # norms are differentiated, too
    "prototype_direction": {"views": ("prototype",), "whole": True},
    "prototype_large": {"views": ("prototype",), "size": 0.3},
    "prototype3": {"views": ("prototype",), "steps": 3},
    "prototype_crop": {"views": ("prototype", "crop")},
    "mirror": {"views": ("mirror",)},  # the mirrored support in the query role
    "crop": {"views": ("crop",)},  # a part of the support in the query role
    "crop3": {"views": ("crop",), "steps": 3},
    "colour": {"views": ("colour",)},  # the support in other colours
    "views": {"views": ("self", "mirror", "crop")},
    "gate": {"views": ("self",), "size": 0.2, "gate": True},  # less where the support is fitted
    "late": {"views": ("self",), "start": 2 / 3},  # the step comes in training's last third
    "never": {"views": ("self",), "start": 1.0},  # training knows of no step
    "prototypes": {"views": ("prototypes",)},  # cosines to foreground and background prototype
    "channel": {"views": ("self",), "channel": True},  # a learned rate for every channel
    "raw": {"views": ("self",), "raw": True},  # the backbone's features are corrected
    "shots": {"views": ("shots",), "shots": 2},  # each support on the others
    "look": {"steps": 0, "look": True},  # the query is answered twice in training, too
}
OWN = ("self", "prototype")  # views that are the support as it is
COMPUTED = ("mirror", "crop", "colour")  # views with features of their own
AGAIN = 0.3  # share of what was found in a second look, which is scored beside the first
SIZE, BATCH = 257, 8


class Search(SSTSegmenter):
    """SST with another inner step, that of the class's attribute `mode`."""

    def __init__(self, *args, **keys):
        super().__init__(*args, **keys)
        if self.mode["channel"]:
            self._tracker.unlock()  # the model is built by now, and Keras takes no more weights
            self.rate = self.add_weight(shape=(self.head.channels,), initializer="zeros",
                                        name="rate")

    def embedded(self, features):
        return tf.cast(self.encoder.embed(features), tf.float32)

    def views_of(self, support, mask, shots, episode):
        """(kind, R, mask) of what the inner loss is taken on."""
        views = []
        for kind in self.mode["views"]:
            if kind == "shots":
                views += [(kind, *(merge(tf.roll(split(one, shots), turn, 1))
                                   for one in (support, mask))) for turn in range(1, shots)]
            elif kind in COMPUTED:
                views.append((kind, self.embedded(merge(episode[f"{kind}_features"])),
                              merge(episode[f"{kind}_mask"])))
            else:
                views.append((kind, support, mask))
        return views

    def by_cosine(self, R, mask):
        """The support segmented by cosines to its own two prototypes, as PANet does: no decoder."""
        panet = PANet(self.head.channels)
        return panet.segment(R, panet.summarise(R, mask), (SIZE, SIZE))

    def step(self, support, raw, mask, views):
        """R'_s and S_sup of N supports, by the mode's inner step."""
        # A tensor of its own, so that the inner gradient leaves other roles of the support alone.
        features = tuned = tf.identity(raw if self.mode["raw"] else support)
        own = None
        for _ in range(self.mode["steps"]):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(tuned)
                R = self.embedded(tuned) if self.mode["raw"] else tuned
                total = 0.0
                for kind, view, truth in views:
                    logit = (self.by_cosine(R, mask) if kind == "prototypes" else
                             self.head.self_segment(R if kind == "self" else view, R, mask))
                    own = logit if kind in OWN and own is None else own
                    total += losses.cross_entropy(logit, truth, True) / len(views)
                total = tf.reduce_sum(total)
            gradient = tape.gradient(total, tuned)
            if self.mode["channel"]:
                gradient *= tf.exp(self.rate)
            weights = 1.0 if self.mode["raw"] else pool_weights(mask, grid(tuned))
            scale = self.mode["size"] * tf.math.divide_no_nan(
                norm(features * weights), norm(gradient * weights))
            if self.mode["gate"]:
                scale *= 1 - losses.hard_iou(own, mask)
            if not self.mode["whole"]:
                scale = tf.stop_gradient(scale)
            tuned -= gradient * scale[:, None, None, None]
        if self.mode["raw"]:
            tuned = self.embedded(tuned)
        if own is None:
            own = self.head.self_segment(support, support, mask)
        return tuned, own

    def call(self, episode, training=False, fusion=None):
        mask, shots = merge(episode["support_mask"]), episode["support_mask"].shape[1]
        support, query = self.encode(episode, training)
        tuned, own = self.step(support, merge(episode["support_features"]), mask,
                               self.views_of(support, mask, shots, episode))
        scores = split(losses.hard_iou(own, mask), shots)
        summary = split(self.head.summarise(tuned, mask, training), shots)
        first = self.head.segment_shots(query, summary, scores, (SIZE, SIZE), "weighted", training)
        if not self.mode["look"]:
            return Segmentation(first, split(own, shots), scores)
        found = found_summary(self.head, query, tf.sigmoid(first))
        second = self.head.segment_shots(query, mixed(summary, found, AGAIN), scores, (SIZE, SIZE),
                                         "weighted", training)
        return Segmentation(second, split(own, shots), scores,
                            losses.cross_entropy(first, episode["query_mask"], self.balanced))


class Recoloured:
    """A frozen encoder that sees each photo in other colours, drawn from the photo itself."""

    def __init__(self, encoder):
        self.encoder, self.backbone = encoder, encoder.backbone

    def features(self, photos):
        def recolour(photo):
            seed = tf.stack([tf.reduce_sum(tf.cast(photo, tf.int32)), 0])
            photo = tf.image.stateless_random_hue(photo, 0.2, seed)
            photo = tf.image.stateless_random_saturation(photo, 0.3, 1.7, seed)
            photo = tf.image.stateless_random_contrast(photo, 0.5, 1.5, seed)
            return tf.image.stateless_random_brightness(photo, 0.2, seed)
        return self.encoder.features(tf.map_fn(recolour, tf.convert_to_tensor(photos)))


class Photos:
    """Features and masks of whole photos, mirrored ones, crops and photos in other colours."""

    def __init__(self, data, store, coloured=None):
        self.data, self.store, self.coloured, self.masks = data, store, coloured, {}

    def mask(self, name, class_id):
        if (name, class_id) not in self.masks:
            mask = self.data.source.class_mask(name, class_id)
            self.masks[name, class_id] = np.asarray(resize_class_mask(mask, SIZE))
        return self.masks[name, class_id]

    def view(self, name, class_id, kind):
        """(features, mask); the whole photo where a crop loses the class."""
        if kind == "mirror":
            return self.store.read(name, True), self.mask(name, class_id)[:, ::-1]
        if kind == "colour":
            return self.coloured.read(name), self.mask(name, class_id)
        mask = self.data.source.class_mask(name, class_id)
        part = mask[box(name, 1, *mask.shape)]
        if not (part == 1).any():
            return self.store.read(name), self.mask(name, class_id)
        return self.store.read(name, False, 1), np.asarray(resize_class_mask(part, SIZE))

    def beside(self, episodes, kinds, shots):
        """A dataset of episodes with the views that a mode needs."""
        def read(names, class_ids, kind):
            rows = [[self.view(name.decode(), int(c), kind.decode()) for name in some]
                    for some, c in zip(names, class_ids, strict=True)]
            return (np.array([[one[0] for one in row] for row in rows], np.float32),
                    np.array([[one[1] for one in row] for row in rows], np.uint8))

        def add(episode):
            for kind in kinds:
                features, mask = tf.numpy_function(
                    read, [episode["support_name"], episode["class_id"], kind],
                    [tf.float32, tf.uint8])
                episode[f"{kind}_features"] = tf.ensure_shape(
                    features, [BATCH, shots, *self.store.shape])
                episode[f"{kind}_mask"] = tf.ensure_shape(mask, [BATCH, shots, SIZE, SIZE])
            return {key: value for key, value in episode.items()
                    if key.endswith(("features", "mask"))}
        return episodes.map(add, 2).prefetch(2)


def scored(model, photos, episodes, shots, kinds):
    """{"tuned", "untuned", "second": `Counts`}, and the supports' own mean IoU before and after."""
    embed, known = tf.function(model.encoder.embed), {}

    def embedding(name):
        if name not in known:
            known[name] = embed(photos.store.read(name)[None])[0].numpy()
        return known[name]

    @tf.function
    def tune(support, raw, mask, *views):
        beside = {f"{kind}_{what}": split(views[2 * i + j], shots)
                  for i, kind in enumerate(kinds) for j, what in enumerate(("features", "mask"))}
        tuned, own = model.step(support, raw, mask, model.views_of(support, mask, shots, beside))
        before, after = (model.head.summarise(one, mask) for one in (support, tuned))
        again = model.head.segment(support, after, (SIZE, SIZE))
        return after, before, losses.hard_iou(own, mask), losses.hard_iou(again, mask)

    @tf.function
    def segment(query, summaries, scores, again):
        return tf.sigmoid(look(model.head, query, summaries, scores, (SIZE, SIZE), again=again))

    paths = {"tuned": 0.0, "untuned": 0.0, "second": AGAIN}
    counts, own = {name: Counts.empty(episodes) for name in paths}, []
    for row, episode in enumerate(episodes):
        pairs = [(name, episode.support_class_id) for name in episode.support]
        views = []
        for kind in kinds:
            features, masks = zip(*(photos.view(*pair, kind) for pair in pairs), strict=True)
            views += [np.stack(features), np.stack(masks)]
        after, before, score, again = tune(
            np.stack([embedding(name) for name, _ in pairs]),
            np.stack([photos.store.read(name) for name, _ in pairs]),
            np.stack([photos.mask(*pair) for pair in pairs]), *views)
        own += zip(score.numpy(), again.numpy(), strict=True)
        query, truth = embedding(episode.query), photos.mask(episode.query, episode.class_id)
        for name, again in paths.items():
            summary = before if name == "untuned" else after
            answer = segment(query[None], summary[None], score[None], again)[0].numpy()
            counts[name].put(row, answer, truth)
    return counts, np.mean(own, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--data", default="../shared/data", help="folder of pascal5i and mini80")
    parser.add_argument("--output", type=Path, default=Path("runs/step_search"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    mode = DEFAULT | MODES[options.mode]
    joined = [{"name": "pascal", "dataset": "voc", "root": f"{options.data}/pascal5i",
               "split": "trainaug"}]
    config, _ = configuration.parse(
        configuration.parser(prog="step_search"),
        ["--data.root", f"{options.data}/mini80", "--data.train_split", "all",
         "--data.novel_split", "all", "--data.novel_classes", json.dumps(NOVEL),
         "--data.join", json.dumps(joined), "--data.novel_policy", "drop", "--tuner.steps", "0",
         "--train.seed", str(options.seed)], "configs/pascal5i_resnet18.yaml")
    config = configuration.resolved(config)
    data = open_data(config)
    keras.utils.set_random_seed(options.seed)
    Search.mode, factory.SSTSegmenter = mode, Search
    model = factory.assemble(config)
    model.encoder.load(config.model.weights)
    store = open_store(config, model, data)
    names = sorted({pair.image_id for pair in data.train + data.validation + data.novel})
    kinds = [kind for kind in mode["views"] if kind in COMPUTED]
    store.ensure(names)
    coloured = None
    for kind in kinds:
        if kind == "colour":
            coloured = FeatureStore(Recoloured(model.encoder), data.source, SIZE,
                                    store.folder / "coloured")
            coloured.ensure(names)
        else:
            store.ensure(names, kind == "mirror", int(kind == "crop"))
    photos = Photos(data, store, coloured)
    train(options, mode, config, data, model, photos, kinds)
    if options.mode != "base":
        report(options, mode, config, data, model, photos, kinds)


def train(options, mode, config, data, model, photos, kinds):
    base, started = options.mode == "base", options.output / f"base_{options.seed}.npz"
    if not base:
        saved = np.load(started)
        for i, variable in enumerate(v for v in model.trainable_variables if v.name != "rate"):
            variable.assign(saved[f"arr_{i}"])
    sampler = data.sampler("train", mode["shots"], options.seed, power=config.train.class_power,
                           absent=config.train.absent_share)
    batches = photos.beside(episode_dataset(
        data.source, sampler, image_size=SIZE, batch=BATCH, start=0 if base else 100_000,
        features=photos.store, seed=options.seed), kinds,
        mode["shots"])
    rate = 1e-3 if base else keras.optimizers.schedules.CosineDecay(1e-3, options.steps)
    model.compile(optimizer=keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.99))
    starts = round(mode["start"] * options.steps)  # the step is unknown to what comes before
    with products(config.train.precision):
        for number, batch in enumerate(batches.take(options.steps), start=1):
            if number in (1, starts + 1):
                Search.mode = mode if number > starts else mode | {"steps": 0}
                step = tf.function(model.train_step)
            logs = step(batch)
            if number % 100 == 0:
                print(number, {key: round(float(value), 3) for key, value in logs.items()},
                      flush=True)
                for metric in model.metrics:
                    metric.reset_state()
    Search.mode = mode
    if base:
        np.savez(started, *(v.numpy() for v in model.trainable_variables))
    else:
        model.optimizer.finalize_variable_values(model.trainable_variables)


def report(options, mode, config, data, model, photos, kinds):
    result = {"mode": options.mode, "seed": options.seed, "steps": options.steps}
    for shots in (5,) if "shots" in mode["views"] else (1, 5):
        seed = evaluation_seed(config.evaluate.seed)
        base, novel = (data.sampler(part, shots, seed).take(count)
                       for part, count in (("validation", 300), ("novel", 1000)))
        held_out, _ = scored(model, photos, base, shots, kinds)
        counts, own = scored(model, photos, novel, shots, kinds)
        kept = {"class_ids": counts["tuned"].class_ids, "photos": counts["tuned"].photos}
        for name, one in counts.items():
            chosen = metrics.best_threshold(held_out[name])
            result[f"{name}, {shots}-shot"] = [float(metrics.mean_iou(one, point))
                                               for point in (metrics.HALF, chosen)]
            for point, at in (("half", metrics.HALF), ("chosen", chosen)):
                tp, fp, fn, _ = one.at(at)
                kept[f"{name}_{point}"] = np.stack([tp, tp + fp + fn])
        result[f"support IoU, {shots}-shot"] = [float(value) for value in own]
        np.savez_compressed(options.output / f"{options.mode}_{options.seed}_{shots}.npz", **kept)
    print(json.dumps(result))
    with open(options.output / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
