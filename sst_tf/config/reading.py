"""Reading a configuration: defaults, then a YAML file, then the command line."""

import dataclasses
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from pipelines.errors import UserError
from sst_tf.config.checks import check
from sst_tf.config.sections import SECTIONS, Config


def parser(**kwargs) -> ArgumentParser:
    """A parser that knows every key as `--section.key`, to which a command adds its own."""
    result = ArgumentParser(exit_on_error=False, **kwargs)
    for name, section in SECTIONS.items():
        result.add_class_arguments(section, name)
    return result


def parse(parser: ArgumentParser, argv: list[str] | None, path: str | None) -> tuple[Config, Any]:
    """Defaults, then the YAML file at `path`, then the command line.

    Raises:
        UserError: one line naming the key and the file (or "command line").
    """
    overrides = parser.get_defaults()
    if path is not None:
        overrides = _parse_file(parser, path, overrides)
    try:
        parsed = parser.parse_args(argv, namespace=overrides)
    except ArgumentError as error:
        raise UserError(f"command line: {_one_line(error)}") from None
    sections = {name: section(**_plain(parsed[name])) for name, section in SECTIONS.items()}
    config = Config(**sections)
    check(config, path or "command line")
    return config, parsed


def positional(parser: ArgumentParser, argv: list[str] | None, name: str) -> Any:
    """The value of a positional argument, before the file that it may name is read.

    Raises:
        UserError: a command line that the parser refuses.
    """
    try:
        return parser.parse_args(argv)[name]
    except ArgumentError as error:
        raise UserError(f"command line: {_one_line(error)}") from None


def _parse_file(parser, path, defaults):
    if not Path(path).is_file():
        raise UserError(f"{path}: no such configuration file")
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not readable as YAML: {_one_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a mapping of sections is expected: {', '.join(SECTIONS)}")
    for section, content in values.items():
        if section not in SECTIONS:
            raise UserError(f"{path}: unknown section {section!r}; known: {', '.join(SECTIONS)}")
        if not isinstance(content, dict):
            raise UserError(f"{path}: section {section!r} must hold keys and values")
        known = [f.name for f in dataclasses.fields(SECTIONS[section])]
        for key in content:
            if key not in known:
                raise UserError(f"{path}: unknown key {section}.{key}; known: {', '.join(known)}")
    try:
        return parser.parse_object(values, defaults)
    except ArgumentError as error:
        raise UserError(f"{path}: {_one_line(error)}") from None


def _one_line(error):
    return " ".join(str(error).split())


def _plain(namespace):
    return {key: value for key, value in vars(namespace).items()}
