# SPDX-License-Identifier: Apache-2.0
"""The parser of all commands: jsonargparse's, with a default told once and only where it is one."""

import argparse

import jsonargparse

DEFAULT = "default: %(default)s"


class Help(jsonargparse.DefaultHelpFormatter):
    """Leaves out defaults that are nothing, and those that an option's own words tell."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = super()._get_help_string(action)
        if action.default is None or "default" in (action.help or ""):
            text = text.replace(f" ({DEFAULT})", "").replace(f", {DEFAULT}", "")
        return text


class ArgumentParser(jsonargparse.ArgumentParser):
    """jsonargparse's parser with this help."""

    def __init__(self, *args, formatter_class: type[Help] = Help, **kwargs):
        super().__init__(*args, formatter_class=formatter_class, **kwargs)
