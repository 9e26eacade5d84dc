# SPDX-License-Identifier: Apache-2.0
"""The card of a preset, as Markdown, made of the facts in its file."""

from pipelines.folds import PASCAL_CLASSES
from sst_tf.presets.preset import Preset
from sst_tf.runs.directory import known_classes, known_photos

BACKBONES = {  # whose weights, and their terms
    "resnet50": "Keras' ImageNet ResNet-50 (`weights: imagenet`), of `keras.applications`",
    "resnet18": "torchvision's ImageNet ResNet-18 (BSD-3)"}
VOC = ("PASCAL VOC 2012 with SBD's masks (`{name}`): photos from Flickr, which VOC and SBD gave "
       "out for research")
COCO = ("COCO (`{name}`): photos from Flickr, each under a Creative Commons licence of its own; "
        "annotations CC BY 4.0, COCO consortium")
YARDSTICKS = {"preset": "this file", "all_foreground": "all foreground",
              "prototype": "cosine prototype of the same backbone, untrained"}
DRAWN = "`{name}`: drawn by this package, no photos"
DATA = {"voc": VOC, "coco": COCO, "mini80": COCO, "shapes": DRAWN}


def card(preset: Preset) -> str:
    """The card's text."""
    facts, config = preset.facts, preset.config()
    backbone, training = config.model.backbone, facts["training"]
    points = "\n".join(f"| {shots} | {one['threshold']:.2f} | {one['presence']:.2f} |"
                       for shots, one in facts["points"].items())
    return f"""# {preset.name}

Finds a class in photos, given a few photos with it marked. Embedding and head of SST
(`model.method: {config.model.method}`), {len(preset.data) / 1e6:.2f} MB in half precision. The
backbone is not in it: {BACKBONES.get(backbone, backbone)}; docs/weights.md says how to get it.

```python
from sst_tf.predictor import Predictor
predictor = Predictor.from_preset("{preset.name}")
```

## Training

{_photos(training, config.train.select_on)}
{_classes(training["classes"])}{_before(training)}

{_how(config, training)}

## Scores

{_folds(facts["scores"]["folds"], bool(training["classes"]["novel"]))}

{_shapes(facts["scores"]["shapes"])}

## Operating points

{_chosen(training)}; other numbers of shots take the
nearest.

| shots | foreground from probability | present from score |
|---|---|---|
{points}

## Terms

The code is under the Apache License 2.0. The file holds no photo and no backbone, but was learned
from photos and a backbone that are under terms of their own; whether your use is within them is for
you to judge.

{_terms(training, backbone)}
"""


def _photos(training, select_on):
    counts = training["photos"]
    if not counts:
        return "The run says nothing of its photos."

    trained = f"Trained on {_told(counts['train'])}"
    if not counts["validation"]:
        return f"{trained}; none were held out, so the last epoch is the result."
    if select_on == "novel":
        return f"{trained}, the best epoch chosen on the classes that it left out."
    return f"{trained}, the best epoch chosen on {_told(counts['validation'])} beside them."


def _told(counts):
    parts = ", ".join(f"{n:,} of {name}" for name, n in counts.items())
    return f"{sum(counts.values()):,} photos ({parts})"


def _before(training):
    """What made the weights that it began with, where it did not begin with drawn ones."""
    if not training.get("init"):
        return ""
    photos, classes = training["photos"].get("before"), training["classes"].get("before")
    return (f"\nIt began as `{training['init']}`"
            + (f", which was trained on {_told(photos)}" if photos else "")
            + (f" and knows {', '.join(classes)}" if classes else "") + ".")


def _chosen(training):
    if training.get("init") and not training["photos"].get("validation"):
        return f"Those of `{training['init']}`, as no photos were held out to choose others"
    return "Chosen on held-out photos of the classes that it was trained on"


def _classes(classes):
    names = ", ".join(classes["base"])
    if classes["novel"]:
        return f"It was trained on: {names}.\nLeft out: {', '.join(classes['novel'])}."
    return (f"All {len(classes['base'])} classes of its data took part, but for those of a photo "
            f"or two: {names}.")


def _how(config, training):
    command = training["command"]
    versions = training["versions"]
    made = (f"`{command}`" if command else "A configuration of its own, which is in the file")
    known = training["known_miou"]
    return (f"{made}: {training['steps']:,} steps of {config.train.batch} episodes, "
            f"{config.train.shots}-shot, at {config.data.image_size} pixels, "
            f"{training['minutes']:g} minutes; TensorFlow {versions.get('tensorflow')}, Keras "
            f"{versions.get('keras')}, commit {training['commit'][:12]}."
            + ("" if known is None else
               f" Held-out photos of the classes it knows: mIoU {known:.3f}, 1-shot"
               + (", one look." if config.model.second_look else "."))
            + (f" It looks twice (`model.second_look {config.model.second_look:g}`, "
               "docs/method.md)." if config.model.second_look else ""))


def _folds(scores, novel):
    if scores is None:
        return "What the recipe scores on classes that it leaves out was not measured."
    first = next(iter(scores["shots"].values()))
    known = ("" if novel else "This file knows every class that there were photos of, so nothing "
             "unseen is left to test it on. ")
    lines = [f"{known}The scores below are of the same recipe trained once a fold without the "
             f"fold's classes, and tested on these (row `{scores['row']}` of {scores['file']}): "
             "models beside this one, not this file. mIoU at the threshold that base classes "
             "chose; AUC: photos with the class told from photos without it.", "",
             f"| shots | {' | '.join(f'fold {fold}' for fold in first['folds'])} | mean | "
             "95 % over photos | AUC |",
             "|---" * (len(first["folds"]) + 4) + "|"]
    for shots, one in scores["shots"].items():
        values = " | ".join(f"{value:.3f}" for value in one["folds"].values())
        auc = "" if one["auc"] is None else f"{one['auc']:.2f}"
        lines.append(f"| {shots} | {values} | {one['mean']:.3f} | {_span(one['interval'])} | "
                     f"{auc} |")
    return "\n".join(lines)


def _shapes(found):
    if found is None:
        return "Out of its domain it was not tested."
    rows = "\n".join(f"| {words} | {found[key]['miou']:.3f} | {_span(found[key]['interval'])} |"
                     for key, words in YARDSTICKS.items())
    return (f"Out of its domain, this file itself: {found['episodes']} 1-shot episodes of the "
            f"drawn `shapes`, {found['photos']} queries, seed 0.\n\n| | mIoU | 95 % over photos |\n"
            f"|---|---|---|\n{rows}")


def _terms(training, backbone):
    unknown = "`{name}`: ask whoever gave you these photos"
    lines = [(DATA if name != "voc" or _pascal(training["classes"]) else {}).get(
        name, unknown).format(name=name) for name in known_photos(training["photos"])]
    lines.append(f"backbone: {BACKBONES.get(backbone, backbone)}")
    return "\n".join(f"- {line}" for line in lines)


def _pascal(classes):
    """Whether a set of VOC's layout has VOC's classes: others come in that layout too."""
    return set(PASCAL_CLASSES) <= {*known_classes(classes), *classes["novel"]}


def _span(interval):
    return f"{interval[0]:.3f} .. {interval[1]:.3f}"
