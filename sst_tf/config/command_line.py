# SPDX-License-Identifier: Apache-2.0
"""The parser of all commands: jsonargparse's, with a default told once and only where it is one."""

import argparse
import re
from typing import NoReturn

import jsonargparse

DEFAULT = "default: %(default)s"
# How jsonargparse refuses a value, and its types and bounds in plain words.
KEY = r'Parser key "(?P<key>[^"]+)"(?: element \d+)?: '
REFUSAL = re.compile(KEY + r"(?P<why>.*)(?:Got|Given) value: (?P<value>.*)")
NO_NUMBER = re.compile(KEY + r"Not of type \w+: invalid literal for int.*?: '(?P<value>.*)'")
BEYOND = re.compile(KEY + r"Not of type \w+: (?P<value>\S+) does not conform to restriction "
                          r"(?P<why>.*)")
EXPECTED = re.compile(r"Expected an? (?:<class '(\w+)'>|typing\.Literal\[([^]]*)\])")
TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
BOUNDS = {"v>=": "at least ", "v<=": "at most ", "v>": "above ", "v<": "below "}


class Help(jsonargparse.DefaultHelpFormatter):
    """Leaves out defaults that are nothing, and those that an option's own words tell."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = super()._get_help_string(action)
        if action.default is None or "default" in (action.help or ""):
            text = text.replace(f" ({DEFAULT})", "").replace(f", {DEFAULT}", "")
        return text


class ArgumentParser(jsonargparse.ArgumentParser):
    """jsonargparse's parser with this help, whose refusals are a line each."""

    def __init__(self, *args, formatter_class: type[Help] = Help, **kwargs):
        super().__init__(*args, formatter_class=formatter_class, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the command with its usage and one line that names the option."""
        if self.exit_on_error and (text := refusal(message)) != one_line(message):
            message = f"--{text}"
        super().error(message, ex)


def refusal(message: str) -> str:
    """Key, value and what is expected, without names of Python's types."""
    text = one_line(message)
    if match := NO_NUMBER.fullmatch(text):
        return f"{match['key']} {match['value']}: expected a whole number"
    if match := BEYOND.fullmatch(text):
        why = match["why"]
        for sign, words in BOUNDS.items():
            why = why.replace(sign, words)
        return f"{match['key']} {match['value']}: expected a number {why}"
    if not (match := REFUSAL.fullmatch(text)):
        return text
    wanted = [TYPES.get(kind) or (f"a list, such as [{match['value']}]" if kind == "list" else kind)
              if kind else " or ".join(re.findall(r"\w+", names))
              for kind, names in EXPECTED.findall(match["why"]) if kind != "NoneType"]
    return f"{match['key']} {match['value']}: expected {' or '.join(wanted)}" if wanted else text


def one_line(error: object) -> str:
    """An error's message without its line breaks."""
    return " ".join(str(error).split())
