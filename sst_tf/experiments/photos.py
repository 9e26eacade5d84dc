# SPDX-License-Identifier: Apache-2.0
"""Whether results that are there are of the photos that are here.

A run's key counts no photos, as reading all of them to name a run takes minutes; so a larger copy
of a data set in the place of a smaller one would go by the smaller one's results.
"""

from collections.abc import Iterable

from pipelines.errors import DataError, UserError
from sst_tf import config as configuration
from sst_tf.data.run_data import SPLITS, open_data
from sst_tf.experiments.grid import Cell
from sst_tf.runs.directory import Run
from sst_tf.training.resume import other_photos


def refuse_other_photos(cells: Iterable[Cell]) -> None:
    """Compare the photos of runs that have results with those that are here now.

    Raises:
        UserError: a run of other photos. Where there are no photos at all, nothing is compared.
    """
    parser, known = configuration.parser(), {}
    for folder, cell in {cell.folder: cell for cell in cells if not cell.missing()}.items():
        if not (then := Run(folder).photos()):
            continue
        config, _ = configuration.parse(parser, cell.arguments, cell.base)
        data = configuration.digest(configuration.to_dict(config)["data"])
        if data not in known:
            known[data] = _facts(config)
        if known[data] and (other := other_photos(then, known[data], SPLITS)):
            raise UserError(f"{folder}: has results of other photos: now there are {other}; name "
                            "another folder by --runs, and none or another by --keep")


def _facts(config):
    try:
        return open_data(config, progress=True).photo_facts()
    except DataError:
        return None
