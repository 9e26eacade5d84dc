# SPDX-License-Identifier: Apache-2.0
"""Errors that are the user's to mend: one line, no trace."""

import errno
import os
import re
from numbers import Integral

# TensorFlow's words for a reader that `pipelines.remote` looks up by the data set's kind.
_NO_READER = re.compile(r"Could not find callback with key=pipelines/(.+)-[0-9a-f]{8}/")
_ROOM = "make room and start again: what is done is kept"
_RIGHTS = "see who may read and write there, or name another folder"
# What the system refuses for reasons outside of the program.
REMEDIES = {errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EFBIG: _ROOM, errno.EROFS: _RIGHTS,
            errno.EACCES: _RIGHTS, errno.EPERM: _RIGHTS, errno.EIO: "see whether the disk is well",
            errno.ENAMETOOLONG: "choose a shorter name", errno.ELOOP: "its links lead in a circle",
            errno.ENOTDIR: "name a folder", errno.EISDIR: "name a file",
            errno.EEXIST: "a folder is needed there: move the file away, or name another"}


class UserError(ValueError):
    """One line: what was given, what is expected, the remedy."""


class DataError(UserError):
    """One line: which file or class, what was found, what was expected, the remedy."""


def check_whole(least: int, **values: object) -> None:
    """DataError for an argument, given by its name, that is no whole number of `least` or more."""
    for name, value in values.items():
        if not isinstance(value, Integral) or int(value) < least:
            raise DataError(f"{name} {value!r}: a whole number of {least} or more is expected")


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
    if lacking := _NO_READER.search(str(error)):
        return DataError(f"service: its workers have no {lacking[1]} data set of these classes; "
                         "start sst remote worker with the data set that is asked for")
    return None


def system_error_from(error: BaseException) -> UserError | None:
    """One line for what the system refuses (`REMEDIES`), else None.

    TensorFlow and HDF5 hand on a full disk as errors of their own whose text names it.
    """
    text = str(error)
    for code, remedy in REMEDIES.items():
        if getattr(error, "errno", None) != code and os.strerror(code) not in text:
            continue
        if isinstance(error, OSError) and error.filename is not None:
            return UserError(f"{error.filename}: {os.strerror(code)}; {remedy}")
        line = next((one for one in text.splitlines() if os.strerror(code) in one), text)
        return UserError(f"{_named(line, code)}; {remedy}")
    return None


def _named(line, code):
    """The line up to the reason, without the bracket that Python and TensorFlow add."""
    before, reason, _ = re.sub(r"\[(Errno \d+|Op:\w+)\] ?", "", line).partition(os.strerror(code))
    return before + (reason or os.strerror(code))
