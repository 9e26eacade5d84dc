# SPDX-License-Identifier: Apache-2.0
"""What types cannot tell: ranges, and keys that do not go together."""

import dataclasses
import itertools
import operator
from collections.abc import Callable
from pathlib import Path

from pipelines.errors import UserError
from pipelines.protocols import protocol
from sst_tf.config.sections import Config

BOUNDS = {"least": (operator.ge, "at least"), "above": (operator.gt, "above"),
          "below": (operator.lt, "below"), "most": (operator.le, "at most")}
FILTERS = ("none", "area2048", "oslsm")
DECODED = ("sst", "fwb", "canet")  # methods with the decoder that dropout acts in
READ_BY = {"classes": "voc", "annotations": "coco", "split_file": "folder"}


def check(config: Config, source: Callable[[str], str], trained: bool = False) -> None:
    """Refuse what cannot be used.

    Args:
        source: the file, or "command line", that set a key; for the message.
        trained: of a run that is trained: how it was matters no more.
    Raises:
        UserError: one line naming the key.
    """
    refusals = [_ranges(config), _evaluation(config)]
    if not trained:
        refusals += [_data(config), _model(config), _training(config)]
    for key, words in itertools.chain(*refusals):
        raise UserError(f"{source(key)}: {key} {_value(config, key)!r}: {words}")


def check_files(config: Config) -> None:
    """Refuse files that are not there, before anything is read.

    Raises:
        UserError: one line naming the key and the file.
    """
    words = {"model.weights": ("imagenet", "none"), "data.pair_filter": FILTERS}
    for section in dataclasses.fields(config):
        for one in dataclasses.fields(getattr(config, section.name)):
            key = f"{section.name}.{one.name}"
            value = _value(config, key)
            if (one.metadata.get("kind") != "file" or value is None or one.metadata["named"]
                    or value in words.get(key, ())):
                continue
            if not Path(value).is_file():
                named = ", ".join(words.get(key, ()))
                raise UserError(f"{key} {value!r}: no such file; expected "
                                + (f"{named} or " if named else "") + "the path of a file")


def _value(config, key):
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def _ranges(config):
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        for one in dataclasses.fields(values):
            value, bounds = getattr(values, one.name), set(BOUNDS) & set(one.metadata)
            some = value if isinstance(value, list) else [value]
            key = f"{section.name}.{one.name}"
            if bounds and not some:
                yield key, "expected a value at least"
            for bound in bounds:
                holds, words = BOUNDS[bound]
                limit = one.metadata[bound]
                # Not a number is within no bounds; a word in a number's place has none.
                if not all(holds(v, limit) for v in some if isinstance(v, (int, float))):
                    yield key, f"expected {words} {limit}"


def _data(config):
    data = config.data
    if data.dataset != "shapes" and data.root is None:
        yield "data.root", f"data.dataset {data.dataset} needs its folder: --data.root FOLDER"
    for name, dataset in READ_BY.items():
        if getattr(data, name) is not None and data.dataset != dataset:
            yield f"data.{name}", f"data.dataset {data.dataset} does not read it, {dataset} does"
    listed = data.novel_classes is not None
    if data.dataset == "folder" or listed:
        for name, unset in (("fold", 0), ("layout", None)):
            if getattr(data, name) != unset:
                yield f"data.{name}", (
                    "data.novel_classes says which are novel, whatever the fold; leave one of the "
                    "two out" if listed else
                    "folders of classes have no folds; data.split_file, data.split_seed or "
                    "data.novel_classes choose the novel ones")
    if listed and len(set(data.novel_classes)) < len(data.novel_classes):
        yield "data.novel_classes", "a class stands twice; name each once"
    names = [one.name for one in data.join]
    if len({"", *names}) <= len(names):
        yield "data.join", "each part needs a name of its own"
    for one in data.join:
        if one.root is None:
            yield "data.join", f"part {one.name}: its root, a folder, is expected"


def _model(config):
    model, tuner = config.model, config.tuner
    if model.method != "sst" and model.comparator != "product":
        yield "model.comparator", (f"model.method {model.method} has no comparator; leave it at "
                                   "product")
    if model.method not in DECODED and model.dropout:
        yield "model.dropout", (f"model.method {model.method} has no decoder for it to act in; "
                                "leave it at 0")
    if model.backbone == "small" and model.weights == "none" and not model.train_backbone:
        yield "model.train_backbone", "a small backbone without weights must be trained: true"
    if tuner.step_size == "learned" and tuner.steps and not tuner.second_order:
        yield "tuner.step_size", ("the step's size is learned through the update; set "
                                  "tuner.second_order true")
    if config.optimizer.name == "adam" and config.optimizer.head_multiplier != 1:
        yield "optimizer.head_multiplier", ("Adam's step does not depend on the gradient's size; "
                                            "leave it at 1 or take optimizer.name sgd")


def _training(config):
    train = config.train
    if train.select_on == "novel" and not train.novel_episodes:
        yield "train.select_on", ("no model is ever chosen with train.novel_episodes 0; set their "
                                  "number or select on base classes")
    if train.select_on == "novel" and config.data.novel_classes == []:
        yield "train.select_on", "data.novel_classes is [], no class is novel; select on base"
    if train.select_on == "novel" and not config.data.validation_share:
        yield "train.select_on", ("with data.validation_share 0 the last epoch is kept, nothing is "
                                  "chosen; leave it at base")
    if not config.data.validation_share and not train.init:
        yield "data.validation_share", ("no photos are held out to choose the model and its "
                                        "threshold; leave it above 0, or start from a model that "
                                        "has them (train.init)")
    if train.init and config.pretrain.steps:
        yield "train.init", "a trained encoder needs no pretrain.steps; set them to 0"
    if train.cache_features and (train.augment != "none" or train.service):
        yield "train.cache_features", ("features are of whole, unchanged photos on this machine; "
                                       "set it to false for train.augment or train.service")
    if train.crops and not train.cache_features:
        yield "train.crops", ("crops are of kept features (train.cache_features); photos that are "
                              "read have train.augment")
    if config.data.join and train.service:
        yield "train.service", "a worker opens one data set; leave out train.service or data.join"
    if train.cache_features and config.model.train_backbone:
        yield "train.cache_features", ("a trained backbone has no fixed features; set it or "
                                       "model.train_backbone to false")


def _evaluation(config):
    settings = config.evaluate
    if settings.ways > 1 and (settings.protocol != "sst" or (settings.runs or 1) > 1
                              or settings.episode_file or settings.flip
                              or settings.scales != [1.0] or settings.oracle):
        yield "evaluate.ways", ("not together with protocol, runs, episode_file, scales, flip or "
                                "oracle; leave them out")
    if len(set(settings.shots)) < len(settings.shots):
        yield "evaluate.shots", "a number stands twice; name each once"
    if settings.episode_file is not None and (settings.runs or 1) > 1:
        yield "evaluate.runs", "evaluate.episode_file names all episodes; leave it out"
    if settings.episode_file is not None and len(settings.shots) > 1:
        yield "evaluate.episode_file", ("its episodes have one number of shots; give it as "
                                        "--evaluate.shots '[k]'")
    if settings.protocol != "sst" and config.data.novel_classes == []:
        yield "evaluate.protocol", ("it tests novel classes, and this run has none "
                                    "(data.novel_classes []); leave it at sst")
    if settings.pair_list is not None and (settings.protocol == "sst" or protocol(
            settings.protocol).pair_filter != "list"):
        yield "evaluate.pair_list", (f"evaluate.protocol {settings.protocol} draws from no "
                                     "published list, hsnet does; leave it out")
