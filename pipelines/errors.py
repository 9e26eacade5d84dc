# SPDX-License-Identifier: Apache-2.0
"""Errors that are the user's to mend: one line, no trace."""


class UserError(ValueError):
    """One line: what was given, what is expected, the remedy."""


class DataError(UserError):
    """One line: which file or class, what was found, what was expected, the remedy."""


def data_error_from(error: BaseException) -> DataError | None:
    """The `DataError` that a reader raised inside `tf.data`, or None.

    TensorFlow hands on an exception of `tf.numpy_function` as an `OpError` whose text holds the
    whole trace; the line of interest starts with the class name.
    """
    if isinstance(error, DataError):
        return error
    for line in str(error).splitlines():
        _, found, text = line.partition("DataError: ")
        if found:
            return DataError(text.strip())
    return None
