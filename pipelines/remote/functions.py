# SPDX-License-Identifier: Apache-2.0
"""The one private call into TensorFlow: readers under names that other processes know."""

from tensorflow.python.ops import script_ops

from pipelines.reading.reader import Reader
from pipelines.sources import Source

_offered = {}  # TensorFlow keeps weak references to functions


def offer(source: Source) -> None:
    """Let graphs that come from elsewhere call the readers of `source` in this process."""
    functions = Reader(source).functions()
    _offered.update(functions)
    # TensorFlow names its NumPy functions by a counter of the process; the op takes any name, but
    # registering under one has no public function.
    script_ops._py_funcs._funcs.update(functions)
