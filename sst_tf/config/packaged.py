# SPDX-License-Identifier: Apache-2.0
"""Configurations and experiments that come with the package, by name.

They lie in `configs` inside the installed package `sst_tf`, and beside it in a checkout.
"""

from pathlib import Path

from pipelines.errors import UserError

SUFFIXES = (".yaml", ".yml")


def folder() -> Path:
    """The folder of packaged configurations; `experiments` is in it."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def find(name: str, kind: str = "") -> str:
    """Path of a configuration file.

    Args:
        name: a path, taken as it is; or the name of a packaged file without folder and suffix.
        kind: "" for a run's configuration, "experiments" for an experiment file.

    Raises:
        UserError: a name that no packaged file has.
    """
    if Path(name).suffix in SUFFIXES or Path(name).name != name:
        return name
    known = {path.stem: path for path in sorted((folder() / kind).glob("*.yaml"))}
    if name not in known:
        raise UserError(f"{name}: no packaged configuration has this name; expected the path of a "
                        f"YAML file or one of {', '.join(known)}")
    return str(known[name])
