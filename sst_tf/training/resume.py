# SPDX-License-Identifier: Apache-2.0
"""Whether a stopped run may go on."""

from collections.abc import Sequence

from pipelines.errors import UserError
from sst_tf import config as configuration
from sst_tf.runs.directory import Run


def refuse_changes(run: Run, config: configuration.Config) -> None:
    """A resumed run must be the same run; how it is evaluated and asked may differ.

    Raises:
        UserError: naming the first key that changes numbers and is not what it was.
    """
    stored = run.config()
    for section, key, _, _ in configuration.trained_otherwise(run.identity(), config):
        before, now = (getattr(getattr(one, section), key) for one in (stored, config))
        words = (f"{before!r} then, {now!r} now" if before != now else
                 f"{now}: another content than when the run began, or not there any more")
        raise UserError(f"{run.folder}: --resume with another {section}.{key} ({words}) would "
                        "not be the same run; use another --run_dir")


def asked_otherwise(run: Run, config: configuration.Config) -> list[str]:
    """Keys of how a resumed run is evaluated and asked that differ from its `config.yaml`."""
    then, now = (configuration.completed(configuration.identity(one))
                 for one in (run.config(), config))
    keys = [*(("evaluate", key) for key in now["evaluate"] if key != "shots"),
            *(("model", key) for key in configuration.ANSWERING)]
    return [f"{section}.{key}" for section, key in keys
            if then[section].get(key) != now[section].get(key)]


def other_photos(then: dict, now: dict, splits: Sequence[str] = ("train", "validation")
                 ) -> str | None:
    """What tells that a run was trained on other photos than there are now, in words; else None.

    Args:
        then: of the run (`Run.photos`), {} of an early one; its hashes may be missing.
        now: `RunData.photo_facts`.
        splits: what is compared; "novel" are the photos of the tests.
    """
    for split in (split for split in splits if split in then):
        if then[split] != now[split]:
            return f"{_count(now[split])} {split} photos ({_count(then[split])} then)"
        was, found = (one.get("sha256", {}).get(split) for one in (then, now))
        if None not in (was, found) and was != found:
            return f"other {split} photos"
    return None


def _count(parts):
    return " + ".join(f"{number:,} of {part}" for part, number in sorted(parts.items())) or "no"


def refuse_without_last(run: Run) -> None:
    """A model of more than one epoch, or of all, that has lost what it would go on from.

    Raises:
        UserError: training would begin anew and replace it.
    """
    epochs = len(run.history())
    further = (epochs > 1 or epochs and not run.unfinished()
               or any(run.folder.glob("evaluations/*.json")))
    if run.model_path.is_file() and further:
        raise UserError(f"{run.folder}: holds a trained model whose {run.last_path.name} is gone, "
                        "so training cannot go on; --run_dir names another folder")
