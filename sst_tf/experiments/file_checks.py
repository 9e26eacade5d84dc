# SPDX-License-Identifier: Apache-2.0
"""What an experiment file may say; a `UserError` names the file, the key and what is expected.

All is checked before anything runs: a table that cannot be made shows after all trainings else.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

# `paper` has the paper's numbers of our rows, `published` those of rows that nobody trains here,
# `paper_notes` what to say of either (its backbone), `paper_photos` what they were trained on.
PAPER: dict[str, Any] = {"paper": {}, "published": {}, "paper_notes": {}, "paper_photos": None}
NUMBERS = ("paper", "published")
ROW = ("base", "seeds")  # of a row, in place of the profile's

Kind = tuple[Callable[[Any], bool], str]  # whether a value is one, and what to call it


def _whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _several(value: Any, least: int) -> bool:
    """A list of different whole numbers, one at least."""
    return (isinstance(value, list) and all(_whole(one, least) for one in value)
            and 0 < len(value) == len(set(value)))


def _named(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(row, str) for row in pair)
        for pair in value)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in value)


TEXT: Kind = (lambda value: isinstance(value, str), "a text")
FLAG: Kind = (lambda value: isinstance(value, bool), "true or false")
FILE: Kind = (lambda value: isinstance(value, str) and bool(value),
              "the path of a configuration file")
SHOTS: Kind = (lambda value: _several(value, 1),
               "a list of different whole numbers from 1 on, such as [1, 5],")
SEEDS: Kind = (lambda value: _several(value, 0),
               "a list of different whole numbers, such as [0, 1],")
PHOTOS: Kind = (lambda value: value is None or _whole(value),
                "a whole number, such as 10582 without a comma,")
NAMED: Kind = (_named, "names with keys and values")
FOLDS: Kind = (lambda value: isinstance(value, dict) and bool(value),
               "one fold or more, such as {0: {data.fold: 0}},")
OVERRIDES: Kind = (_named, "keys of a configuration and their values")
SWITCHES: Kind = (lambda value: value is None or _named(value), OVERRIDES[1])
PAIRS: Kind = (_pairs, "a list of pairs of rows, such as [[both, base]],")
NOTES: Kind = (lambda value: _named(value) and all(isinstance(one, str) for one in value.values()),
               "a text for each row")
BY_SHOTS: Kind = (lambda value: isinstance(value, dict) and all(map(_numbers, value.values())),
                  "shots and a list of numbers for each, such as {1: [57.4]},")

KEYS = {"title": TEXT, "source": TEXT, "protocol": TEXT, "shots": SHOTS, "rows": NAMED,
        "differences": PAIRS, "profiles": NAMED, "paper": NAMED, "published": NAMED,
        "paper_notes": NOTES, "paper_photos": PHOTOS}
PROFILE_KEYS = {"base": FILE, "expect": TEXT, "folds": FOLDS, "seeds": SEEDS,
                "overrides": OVERRIDES, "shots": SHOTS, "rows": NAMED, "beside_paper": FLAG}
ROW_KEYS = {"base": FILE, "seeds": SEEDS}


def check(path: Path, content: Any, profile: str) -> None:
    """Check the content of an experiment file, of which one profile is wanted.

    Raises:
        UserError: naming the file, the key and what is expected.
    """
    _keys(path, "", content, KEYS, {"title", "rows", "profiles", "shots"})
    _rows(path, "rows", content["rows"])
    for key in NUMBERS:
        for row, values in content.get(key, {}).items():
            _expect(path, f"{key}.{row}", values, BY_SHOTS)
    profiles = content["profiles"]
    if profile not in profiles:
        raise UserError(f"{path}: no profile {profile!r}; known: {', '.join(profiles)}")
    known = set(content["rows"])
    for name, one in profiles.items():
        where = f"profiles.{name}"
        _keys(path, f"{where}.", one, PROFILE_KEYS, {"base", "folds", "seeds"})
        _rows(path, f"{where}.rows", one.get("rows", {}))
        for fold, keys in one["folds"].items():
            _expect(path, f"{where}.folds.{fold}", keys, SWITCHES)
        known |= set(one.get("rows", {}))
    for row in (row for pair in content.get("differences", []) for row in pair):
        if row not in known:
            raise UserError(f"{path}: differences: no row {row!r}; known: "
                            f"{', '.join(sorted(known))}")
    chosen = profiles[profile]
    if not {**content["rows"], **chosen.get("rows", {})}:
        raise UserError(f"{path}: rows: name one or more, such as {{base: {{tuner.steps: 0}}}}")
    if beside_paper(profile, chosen):
        _lengths(path, content, profile, len(chosen["folds"]) + 1)


def beside_paper(profile: str, content: dict) -> bool:
    """Whether the paper's numbers stand beside those of a profile."""
    return profile == "paper" or content.get("beside_paper", False)


def _lengths(path, content, profile, whole):
    for key in NUMBERS:
        for row, by_shots in content.get(key, {}).items():
            for shots, values in by_shots.items():
                if len(values) not in (1, whole):
                    raise UserError(
                        f"{path}: {key}.{row}.{shots}: 1 number expected (the mean), or {whole} "
                        f"(of each fold of profile {profile}, then the mean), not {values!r}")


def _rows(path, where, rows):
    for row, switches in rows.items():
        _expect(path, f"{where}.{row}", switches, SWITCHES)
        for key, kind in ROW_KEYS.items():
            if key in (switches or {}):
                _expect(path, f"{where}.{row}.{key}", switches[key], kind)


def _keys(path, prefix, content, kinds, needed):
    if not isinstance(content, dict):
        raise UserError(f"{path}: {prefix}keys are expected: {', '.join(sorted(kinds))}")
    for key, value in content.items():
        if key not in kinds:
            raise UserError(f"{path}: unknown key {prefix}{key}; known: {', '.join(sorted(kinds))}")
        _expect(path, f"{prefix}{key}", value, kinds[key])
    for key in sorted(needed - set(content)):
        raise UserError(f"{path}: {prefix}{key} is missing")


def _expect(path, where, value, kind):
    fits, words = kind
    if not fits(value):
        raise UserError(f"{path}: {where}: {words} expected, not {value!r}")
