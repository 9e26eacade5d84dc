# SPDX-License-Identifier: Apache-2.0
"""`sst doctor`: what is installed, found and missing on this machine.

Versions, devices, free disk, features kept here, presets with their backbone weights,
and of each optional part of the package what it lacks and the command that brings it.
"""

import json
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pipelines.commands import command
from sst_tf.config import ArgumentParser
from sst_tf.config.sections import TrainConfig
from sst_tf.presets import weight_files
from sst_tf.presets.preset import presets
from sst_tf.runs.provenance import NAME

FOLDERS = {"here": ".", "cache": "~/.cache"}
PROGRAMS = {"tensorflow_model_server": "serves SavedModels; without it sst serve stands in",
            "npm": "brings the libraries of the page of sst web",
            "chromedriver": "drives the browser in the tests of the demo page"}


def needs() -> dict[str, list[Requirement]]:
    """{extra: the packages that it brings to this machine}; those of any use under ""."""
    extras = metadata.metadata(NAME).get_all("Provides-Extra") or []
    return {"": required(NAME, ""), **{one: required(NAME, one) for one in extras if one != "all"}}


def required(package: str, extra: str) -> list[Requirement]:
    """What an extra of a package needs on this machine, extras of those packages included."""
    found = []
    try:
        lines = metadata.requires(package) or []
    except metadata.PackageNotFoundError:  # told as missing itself
        return []
    for one in map(Requirement, lines):
        if not (one.marker is None or one.marker.evaluate({"extra": extra})):
            continue
        if extra and (one.marker is None or one.marker.evaluate({"extra": ""})):
            continue  # comes without the extra, too
        found += [one] if one.name != package else []
        for inner in one.extras:
            found += required(one.name, inner)
    return found


def problem(one: Requirement) -> str | None:
    """What is wrong with a package: "NAME is missing", another version; None where it is there."""
    try:
        version = metadata.version(one.name)
    except metadata.PackageNotFoundError:
        return f"{one.name} is missing"
    if not one.specifier.contains(version, prereleases=True):
        return f"{one.name} is {version}, {one.specifier} is needed"
    return None


def facts() -> dict[str, Any]:
    """All that the command tells, JSON-able."""
    wanted = needs()
    problems = [text for one in wanted[""] if (text := problem(one))]
    try:
        found = devices()
    except ImportError as error:
        problems.append(f"tensorflow cannot be imported ({error})")
        found = []
    return {
        "versions": {NAME: metadata.version(NAME), "python": platform.python_version(),
                     **{one.name: metadata.version(one.name) for one in wanted[""]
                        if problem(one) is None}},
        "problems": problems,
        "machine": {"system": platform.platform(), "processors": os.cpu_count(),
                    "devices": found},
        "free_gigabytes": {name: round(free(path) / 1e9, 1) for name, path in FOLDERS.items()},
        "kept_features": kept_features(TrainConfig.cache_dir),
        "presets": presets(),
        "weights": {"folder": str(weight_files.folder()), "found": {
            backbone: [path.name for path in weight_files.candidates(backbone)]
            for backbone in weight_files.HELP}},
        "extras": {extra: [text for one in listed if (text := problem(one))]
                   for extra, listed in wanted.items() if extra},
        "programs": {name: shutil.which(name) for name in PROGRAMS}}


def devices() -> list[str]:
    """Names of the devices that TensorFlow sees, GPUs by their model."""
    import tensorflow as tf

    return [tf.config.experimental.get_device_details(one).get("device_name", one.name)
            if one.device_type == "GPU" else one.name.removeprefix("/physical_device:")
            for one in tf.config.list_physical_devices()]


def free(path: str | Path) -> int:
    """Free bytes of the disk on which a folder lies, or would lie."""
    place = Path(path).expanduser().absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def kept_features(folder: str | Path) -> dict[str, Any]:
    """How many stores of backbone features (train.cache_dir) lie in a folder, and their room.

    Photos or weights that change get a store of their own, so that old ones pile up.
    """
    stores = [path for path in Path(folder).glob("*") if path.is_dir()]
    room = sum(file.stat().st_blocks * 512 for store in stores for file in store.iterdir())
    return {"folder": str(folder), "stores": len(stores), "gigabytes": round(room / 1e9, 1)}


def text_of(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = [", ".join(f"{name} {version}" for name, version in found["versions"].items())]
    machine, weights, kept = found["machine"], found["weights"], found["kept_features"]
    lines += [f"PROBLEM: {one}; pip install {NAME} brings it" for one in found["problems"]]
    lines += [f"{machine['system']}, {machine['processors']} processors; devices: "
              f"{', '.join(machine['devices']) or 'none'}",
              "free disk: " + ", ".join(f"{gigabytes:g} GB in {FOLDERS[name]}" for name, gigabytes
                                        in found["free_gigabytes"].items()),
              f"kept features: {kept['gigabytes']:g} GB, {kept['stores']} folders in "
              f"{kept['folder']}" + ("; delete any of them at will, a training that needs it "
                                     "makes it again" if kept["stores"] else ""),
              f"presets: {', '.join(found['presets']) or 'none in this version'}",
              f"backbone weights, in {weights['folder']}:"]
    lines += [f"  {backbone}: " + (", ".join(names) or f"none; {weight_files.advice(backbone)}")
              for backbone, names in weights["found"].items()]
    lines.append("optional parts:")
    for extra, missing in found["extras"].items():
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        lines.append(f"  {extra}: " + ("complete" if not missing else
                     f"{', '.join(missing[:3])}{more}; pip install '{NAME}[{extra}]'"))
    lines.append("programs:")
    lines += [f"  {name}: {path or f'not found ({PROGRAMS[name]})'}"
              for name, path in found["programs"].items()]
    return "\n".join(lines)


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    found = facts()
    print(json.dumps(found, indent=1) if options.json else text_of(found))


if __name__ == "__main__":
    main()
