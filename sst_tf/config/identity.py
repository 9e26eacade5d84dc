# SPDX-License-Identifier: Apache-2.0
"""What a configuration is: a hash of all that changes numbers.

Numbers count by value and files by content, so that a list of classes edited in place is another
configuration, and the same list copied elsewhere is not. Places stay out, `data.root` among them:
a data set may lie anywhere, on each machine elsewhere or (yet) nowhere, and reading all of it to
name a run would cost minutes. What was drawn from it stands in each results file (novel classes,
number of pairs, hash of the episodes), by which unequal data sets are told apart.
"""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from sst_tf.config.resolve import resolved
from sst_tf.config.sections import ANSWERING, SECTIONS, Config

PRESETS = Path(__file__).parents[1] / "presets"  # whose names stand for their files


def to_dict(config: Config) -> dict:
    """All keys by section, as written to `config.yaml`."""
    return dataclasses.asdict(config)


def portable(config: Config) -> dict:
    """All keys by section but places; of a file its name: what may leave this machine.

    `from_record` reads it.
    """
    return {section.name: _portable(getattr(config, section.name))
            for section in dataclasses.fields(config)}


def identity(config: Config) -> dict:
    """{section: {key: value}} of what changes numbers; of a file, the hash of its content.

    A key left to follow another counts as what it then is; an added one at its default is absent.

    A file that is not there counts by its name, and so does a word in its place ("imagenet").
    """
    config = resolved(config)
    return {section.name: _of(getattr(config, section.name))
            for section in dataclasses.fields(config)}


def completed(identity: dict) -> dict:
    """An identity with the added keys that it leaves out, at their defaults."""
    return {name: {
        **{one.name: _counted(_default(one), one.metadata)
           for one in dataclasses.fields(section) if one.metadata.get("added")},
        **identity.get(name, {})} for name, section in SECTIONS.items()}


def of_training(identity: dict) -> dict:
    """The part of an identity that makes the weights: not how they are evaluated and asked."""
    return {section: {key: value for key, value in values.items()
                      if section != "model" or key not in ANSWERING}
            for section, values in identity.items() if section != "evaluate"}


def trained_otherwise(then: dict, config: Config) -> list[tuple[str, str, Any, Any]]:
    """(section, key, value then, value now) of what would make other weights.

    A key that follows another comes after it.

    Args:
        then: the identity of a run; a key that it does not know is taken as unchanged.
        config: what is wanted now.
    """
    then = completed(then)
    found = [(section, key, was, value)
             for section, values in of_training(completed(identity(config))).items()
             for key, value in values.items()
             if (was := then.get(section, {}).get(key, value)) != value
             # Earlier versions counted a preset by its name.
             and (section, key, was) != ("train", "init", config.train.init)]
    return sorted(found, key=lambda one: getattr(getattr(config, one[0]), one[1]) is None)


def sha256(config: Config) -> str:
    """Hash of the identity."""
    return digest(identity(config))


def digest(value: object) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _of(values):
    return {one.name: _counted(getattr(values, one.name), one.metadata)
            for one in dataclasses.fields(values) if one.metadata.get("kind") != "place"
            and not (one.metadata.get("added") and getattr(values, one.name) == _default(one))}


def _default(one):
    return one.default if one.default_factory is dataclasses.MISSING else one.default_factory()


def _portable(values):
    found = {}
    for one in dataclasses.fields(values):
        value = getattr(values, one.name)
        if isinstance(value, list):
            value = [_portable(v) if dataclasses.is_dataclass(v) else v for v in value]
        if one.metadata.get("kind") == "file" and value is not None:
            value = Path(value).name
        if one.metadata.get("kind") not in ("place", "whether"):
            found[one.name] = value
    return found


def _counted(value, metadata):
    if metadata.get("kind") == "whether":
        return value is not None
    if isinstance(value, list) and value and dataclasses.is_dataclass(value[0]):
        return [_of(one) for one in value]
    if metadata.get("kind") != "file" or value is None:
        return value
    path = Path(value)
    if metadata["named"] and not path.exists():
        path = PRESETS / f"{value}.npz"
    folder = path if path.is_dir() else path.parent
    files = [one for one in (path, *(folder / name for name in metadata["beside"]))
             if one.is_file()]
    if not (path.is_file() or path.is_dir() and files):
        return Path(value).name
    return [_content(one, one.stat().st_size, one.stat().st_mtime_ns) for one in files]


@functools.lru_cache(maxsize=256)
def _content(path, size, changed):
    """SHA-256 of a file; read again where its size or time of change differs."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
