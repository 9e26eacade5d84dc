# SPDX-License-Identifier: Apache-2.0
"""What is answered: photos of a folder, rows of Parquet, samples of WebDataset tars."""

from collections.abc import Set
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import ray.data
from pyarrow import fs, parquet

from pipelines.errors import UserError
from sst_tf.photos.batch import places
from sst_tf.photos.batch.output import Output
from sst_tf.photos.inputs import OTHERS, PHOTOS, is_answer

KINDS = {"folder": PHOTOS, "parquet": (".parquet",), "webdataset": (".tar",)}
# The columns of every block: which photo, and its bytes or where they are.
ROW = pa.schema([("photo", pa.string()), ("data", pa.binary()), ("path", pa.string())])


class Source(NamedTuple):
    """Photos to answer.

    Attributes:
        blocks: `ray.data.Dataset` of `ROW`.
        total: number of photos, those that are done included; None where only reading tells.
        left_out: those that are in no block because they are done.
        filesystem: of the paths; None where rows hold bytes.
        ids: of all photos, those that are done included; None where only reading tells.
    """

    blocks: ray.data.Dataset
    total: int | None
    left_out: int
    filesystem: fs.FileSystem | None
    ids: Set[str] | None = None


class Listing(NamedTuple):
    """What lies at a path or URI.

    Attributes:
        kind: one of `KINDS`.
        filesystem: of the files.
        root: path that ids leave out.
        files: of that kind, by name.
        others: pictures of kinds that are not looked for, where photos are.
        answers: how many pictures were left out because `sst predict` wrote them there.
    """

    kind: str
    filesystem: fs.FileSystem
    root: str
    files: list[str]
    others: list[str]
    answers: int


def listing(uri: str, kind: str | None, output: Output | None = None) -> Listing:
    """The files of an input; needs no Ray.

    Args:
        uri: a folder of photos, Parquet files or tars, or one such file.
        kind: one of `KINDS`; by the files there if None.
        output: where answers go, which may lie within the input, or be it: answers are no input,
            nor are those of `sst predict` in a folder of this machine.
    Raises:
        UserError: nothing there, nothing but answers, or several kinds.
    """
    filesystem, path = places.opened(uri)
    found = _listed(filesystem, path.rstrip("/"), uri, output)
    kinds = [one for one, endings in KINDS.items() if kind in (None, one)
             and any(_ending(file) in endings for file in found)]
    if len(kinds) != 1:
        wanted = kind or " or ".join(KINDS)
        raise UserError(f"{uri}: " + (f"holds several kinds of input; expected --kind, one of "
                                      f"{', '.join(kinds)}" if kinds else
                                      f"nothing of kind {wanted} there ({_endings(kind)})"))
    files = [file for file in found if _ending(file) in KINDS[kinds[0]]]
    root = path.rstrip("/") if files != [path] else path.rpartition("/")[0]
    if kinds[0] != "folder":
        return Listing(kinds[0], filesystem, root, files, [], 0)
    others = [file for file in found if _ending(file) in OTHERS]
    looked_at = isinstance(filesystem, fs.LocalFileSystem) and files != [path]
    photos = [file for file in files if not (looked_at and is_answer(Path(file)))]
    if not photos:
        raise UserError(f"{uri}: nothing but answers of an earlier run; photos are expected")
    return Listing(kinds[0], filesystem, root, photos, others, len(files) - len(photos))


def open_source(found: Listing, done: Set[str], rows: int, photo: str, name: str) -> Source:
    """The photos of an input.

    Args:
        done: ids that have a row.
        rows: photos of a block.
        photo, name: of Parquet: the columns of photos (bytes, or paths) and of their ids.
    Raises:
        UserError: a column that is not there, or holds something else.
    """
    if found.kind == "folder":
        return _folder(found.filesystem, found.root, found.files, done, rows)
    if found.kind == "parquet":
        return _parquet(found.filesystem, found.files, rows, photo, name)
    return _webdataset(found.filesystem, found.root, found.files, rows)


def _folder(filesystem, root, files, done, rows):
    ids = {file.removeprefix(f"{root}/"): file for file in files}
    left = [one for one in ids if one not in done]
    blocks = [pa.table({"photo": part, "data": pa.nulls(len(part), pa.binary()),
                        "path": [ids[one] for one in part]}, ROW)
              for part in (left[i:i + rows] for i in range(0, len(left), rows))]
    return Source(ray.data.from_arrow(blocks or ROW.empty_table()), len(ids),
                  len(ids) - len(left), filesystem, ids.keys())


def _parquet(filesystem, files, rows, photo, name):
    total, of_paths = 0, set()
    for file in files:
        with filesystem.open_input_file(file) as opened:
            schema = parquet.read_schema(opened)
            total += parquet.read_metadata(opened).num_rows
        for column in (photo, name):
            if column not in schema.names:
                raise UserError(f"{file}: no column {column!r}; it has {', '.join(schema.names)} "
                                "(--photo and --id name them)")
        of_paths.add(_holds_paths(file, schema.field(photo)))
    if len(of_paths) > 1:
        raise UserError(f"{files[0]}: column {photo!r} holds paths in some files and bytes in "
                        "others; answer them apart")
    key = "path" if of_paths == {True} else "data"

    def renamed(table):
        if table[name].null_count:
            raise UserError(f"column {name!r}: a photo without an id; --id names another column")
        columns = {column.name: pa.nulls(len(table), column.type) for column in ROW}
        columns |= {"photo": table[name].cast(pa.string()),
                    key: table[photo].cast(ROW.field(key).type)}
        return pa.table(columns, ROW)

    blocks = ray.data.read_parquet(files, filesystem=filesystem, columns=[photo, name])
    return Source(blocks.map_batches(renamed, batch_format="pyarrow").repartition(
        target_num_rows_per_block=rows), total, 0, None)


def _holds_paths(file, column):
    """Whether a column has paths, in the place of bytes."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return True
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return False
    raise UserError(f"{file}: column {column.name!r} is of {column.type}; expected paths or bytes")


def _webdataset(filesystem, root, files, rows):
    def renamed(sample):
        """A sample is a photo and what else has its name; ids hold the tar's, which tells them."""
        data = next((sample[key] for key in sample if f".{key.lower()}" in PHOTOS), None)
        tar = sample["path"].removeprefix(f"{root}/")
        return {"photo": f"{tar}/{sample['__key__']}", "data": data, "path": None}

    blocks = ray.data.read_webdataset(files, filesystem=filesystem, decoder=None,
                                      include_paths=True)
    return Source(blocks.map(renamed).repartition(target_num_rows_per_block=rows), None, 0, None)


def _listed(filesystem, path, uri, output=None):
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.File:
        return [path]
    if info.type != fs.FileType.Directory:
        raise UserError(f"{uri}: no such file or folder")
    try:
        found = sorted(one.path for one in filesystem.get_file_info(
            fs.FileSelector(path, recursive=True))
                       if one.type == fs.FileType.File and not one.base_name.startswith("."))
    except UnicodeDecodeError as error:
        name = error.object.decode(errors="backslashreplace")
        raise UserError(f"{uri}: {name}: its name is not UTF-8; rename it") from None
    return [one for one in found if output is None or not output.wrote(filesystem, one)]


def _ending(path):
    return PurePosixPath(path).suffix.lower()


def _endings(kind):
    return ", ".join(sum((KINDS[one] for one in KINDS if kind in (None, one)), ()))
