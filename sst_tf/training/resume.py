# SPDX-License-Identifier: Apache-2.0
"""Whether a stopped run may go on."""

from pipelines.errors import UserError
from sst_tf import config as configuration
from sst_tf.runs.directory import Run


def refuse_changes(run: Run, config: configuration.Config) -> None:
    """A resumed run must be the same run; how it is evaluated may differ.

    Raises:
        UserError: naming the first key that changes numbers and is not what it was.
    """
    then, stored = configuration.completed(run.identity()), run.config()
    for section, values in configuration.completed(configuration.identity(config)).items():
        for key, value in values.items():
            if section == "evaluate" or then.get(section, {}).get(key, value) == value:
                continue
            before, now = (getattr(getattr(one, section), key) for one in (stored, config))
            words = (f"{before!r} then, {now!r} now" if before != now else
                     f"{now}: another content than when the run began")
            raise UserError(f"{run.folder}: --resume with another {section}.{key} ({words}) would "
                            "not be the same run; use another --run_dir")
