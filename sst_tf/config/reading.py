# SPDX-License-Identifier: Apache-2.0
"""Reading a configuration: defaults, then a YAML file, then the command line."""

import dataclasses
import sys
import warnings
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, Namespace

from pipelines.errors import UserError
from sst_tf.config.checks import check
from sst_tf.config.command_line import ArgumentParser, one_line, refusal
from sst_tf.config.sections import SECTIONS, Config

RENAMED = {"data.rule": "data.pair_filter", "data.novel": "data.novel_policy"}


def parser(**kwargs) -> ArgumentParser:
    """A parser that knows every key as `--section.key`, to which a command adds its own."""
    result = ArgumentParser(exit_on_error=False, **kwargs)
    for name, section in SECTIONS.items():
        result.add_class_arguments(section, name)
    return result


def parse(parser: ArgumentParser, argv: list[str] | None, path: str | None,
          record: bool = False) -> tuple[Config, Any]:
    """Defaults, then the YAML file at `path`, then the command line.

    Novel classes that the command line names take the place of the file's fold.

    Args:
        argv: the command line; that of the process where None.
        record: the file is what a run directory kept: old names are read without a word, and
            what is no key any more is left out with a warning.
    Raises:
        UserError: one line naming the key and the file (or "command line").
    """
    words, given = _present_names(argv), parser.get_defaults()
    if path is not None:
        given = _parse_file(parser, path, given, record)
    before = given.evaluate.protocol
    try:
        parsed = parser.parse_args(words, namespace=given.clone())
        if parsed.evaluate.protocol != before:
            # The file's numbers are of the file's protocol; another one has its own.
            given.evaluate.episodes = given.evaluate.runs = None
            parsed = parser.parse_args(words, namespace=given)
    except ArgumentError as error:
        raise UserError(f"command line: {refusal(str(error))}") from None
    given_here = {word.partition("=")[0].removeprefix("--").rstrip("+") for word in words}
    if parsed.data.novel_classes != given.data.novel_classes:
        unset = parser.get_defaults().data
        for key in ("fold", "layout"):
            if f"data.{key}" not in given_here:
                parsed.data[key] = unset[key]
    sections = {name: section(**_plain(parsed[name])) for name, section in SECTIONS.items()}
    config = Config(**sections)
    check(config, lambda key: "command line" if path is None or key in given_here else path,
          trained=record)
    return config, parsed


def from_record(values: dict, source: str) -> Config:
    """The configuration that a results file or run directory recorded, of any version."""
    known = {section: _known_keys(source, section, content, True)
             for section, content in values.items()}
    return Config(**{name: section(**known.get(name) or {}) for name, section in SECTIONS.items()})


def before_file(parser: ArgumentParser, argv: list[str] | None) -> Any:
    """What the command line says, before the file that it may name is read.

    Raises:
        UserError: a command line that the parser refuses.
    """
    try:
        return parser.parse_args(_present_names(argv, tell=False))
    except ArgumentError as error:
        raise UserError(f"command line: {refusal(str(error))}") from None


def read_yaml(path: str | Path) -> Any:
    """What a YAML file holds.

    Raises:
        UserError: the file, and why it is not readable.
    """
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML: {one_line(error)}") from None


def _parse_file(parser, path, defaults, record):
    if not Path(path).is_file():
        raise UserError(f"{path}: no such configuration file")
    values = read_yaml(path) or {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: a mapping of sections is expected: {', '.join(SECTIONS)}")
    known = {section: _known_keys(path, section, content, record)
             for section, content in values.items()}
    try:
        return parser.parse_object({k: v for k, v in known.items() if v is not None}, defaults)
    except ArgumentError as error:
        raise UserError(f"{path}: {refusal(str(error))}") from None


def _known_keys(path, section, content, record):
    """The keys of a section under their present names; None for a section that is no more."""
    if section not in SECTIONS:
        _unknown(f"{path}: unknown section {section!r}; known: {', '.join(SECTIONS)}",
                 f"{path}: section {section} is no more and is left out", record)
        return None
    if not isinstance(content, dict):
        raise UserError(f"{path}: section {section!r} must hold keys and values")
    known, found = [f.name for f in dataclasses.fields(SECTIONS[section])], {}
    for key, value in content.items():
        if new := RENAMED.get(f"{section}.{key}"):
            if new.rpartition(".")[2] in content:
                raise UserError(f"{path}: {section}.{key} and {new} are one key; leave out the "
                                "first")
            if not record:
                warnings.warn(f"{path}: {section}.{key} is now {new}", stacklevel=5)
            key = new.rpartition(".")[2]
        if key in known:
            found[key] = value
        else:
            _unknown(f"{path}: unknown key {section}.{key}; known: {', '.join(known)}",
                     f"{path}: {section}.{key} is no more and is left out", record)
    return found


def _unknown(refusal, warning, record):
    if not record:
        raise UserError(refusal)
    warnings.warn(warning, stacklevel=6)


def _present_names(argv, tell=True):
    """A command line with old keys under their present names."""
    found = []
    for text in sys.argv[1:] if argv is None else argv:
        key, equals, value = text.partition("=")
        if new := RENAMED.get(key.removeprefix("--")) if key.startswith("--") else None:
            if tell:
                warnings.warn(f"{key} is now --{new}", stacklevel=3)
            text = f"--{new}{equals}{value}"
        found.append(text)
    return found


def _plain(namespace):
    return {key: [dict(vars(one)) if isinstance(one, Namespace) else one for one in value]
            if isinstance(value, list) else value for key, value in vars(namespace).items()}
