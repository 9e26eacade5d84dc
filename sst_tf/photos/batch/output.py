# SPDX-License-Identifier: Apache-2.0
"""The output of a batch: Parquet files of one row a photo, and what of it is there already."""

import hashlib
import io
import json
from typing import Any

import pyarrow as pa
from pyarrow import fs, parquet

from pipelines.errors import UserError
from sst_tf.photos.batch import places

ASKED = "asked.json"
MASKS = "masks"  # folder of index pictures, with masks "files"
ENDING = ".parquet"
FOUND = pa.struct([("name", pa.string()), ("score", pa.float32()), ("present", pa.bool_()),
                   ("area", pa.int64()), ("counts", pa.list_(pa.int32()))])
SCHEMA = pa.schema([("photo", pa.string()), ("error", pa.string()), ("height", pa.int32()),
                    ("width", pa.int32()), ("classes", pa.list_(FOUND)), ("index", pa.binary())])


class Output:
    """A folder at a path or URI.

    A file holds the rows of one block of photos and is named by their ids, so that a block that is
    answered again, because a worker was killed, replaces its file: no row is lost, none is double.

    Args:
        uri: of the folder, made where it is missing.
    """

    def __init__(self, uri: str):
        self.uri = uri
        self.filesystem, path = places.opened(uri)
        self.path = path.rstrip("/")

    def begin(self, asked: dict[str, Any]) -> None:
        """Make the folder, or go on with one in which the same was asked.

        Args:
            asked: all that an answer hangs on but the photo, JSON-able.
        Raises:
            UserError: answers of another model, class or option are there.
        """
        try:
            self.filesystem.create_dir(self.path)
            before = self._asked()
            if before is None and not self._files():
                places.write(self.filesystem, f"{self.path}/{ASKED}",
                             json.dumps(asked, indent=1).encode())
                return
        except OSError as error:
            raise UserError(f"{self.uri}: cannot be written ({error})") from None
        if before is None:
            raise UserError(f"{self.uri}: has Parquet files of something else; choose another "
                            "folder")
        changed = sorted(key for key in {*before, *asked} if before.get(key) != asked.get(key))
        if changed:
            raise UserError(f"{self.uri}: has answers to something else ({', '.join(changed)} "
                            "differ); choose another folder")

    def done(self) -> tuple[set[str], int]:
        """(ids of the photos that have a row, how many of them an error).

        Raises:
            UserError: a damaged file, or a photo with two rows.
        """
        ids, errors, rows = set(), 0, 0
        for path in self._files():
            table = self._table(path, ["photo", "error"])
            ids.update(table["photo"].to_pylist())
            errors += table.num_rows - table["error"].null_count
            rows += table.num_rows
        if rows != len(ids):
            raise UserError(f"{self.uri}: {rows} rows of {len(ids)} photos; two inputs of one "
                            "name, or files of another run")
        return ids, errors

    def wrote(self, filesystem: fs.FileSystem, path: str) -> bool:
        """Whether a file is one of the output's own: rows, what was asked, or an index picture."""
        folder, _, name = path.rpartition("/")
        return filesystem == self.filesystem and (
            path.startswith(f"{self.path}/{MASKS}/")
            or folder == self.path and (name == ASKED or name.endswith(ENDING)))

    def forget_errors(self) -> None:
        """Drop rows that hold an error, so that their photos are answered again.

        Raises:
            UserError: a damaged file.
        """
        for path in self._files():
            table = self._table(path, SCHEMA.names)
            kept = table.filter(table["error"].is_null())
            if len(kept) == 0:
                self.filesystem.delete_file(path)
            elif len(kept) < len(table):
                self._write(path, kept)

    def rows(self) -> int:
        """How many rows there are, by the ends of the files alone: cheap while others write."""
        count = 0
        for path in self._files():
            with self.filesystem.open_input_file(path) as file:
                count += parquet.read_metadata(file).num_rows
        return count

    def errors(self, most: int) -> list[tuple[str, str]]:
        """(photo, error) of at most so many rows."""
        found = []
        for path in self._files():
            table = self._table(path, ["photo", "error"])
            found += [(one["photo"], one["error"]) for one in table.to_pylist()
                      if one["error"] is not None]
            if len(found) >= most:
                break
        return found[:most]

    def write(self, rows: list[dict[str, Any]]) -> None:
        """The rows of a block as one file."""
        ids = "\n".join(row["photo"] for row in rows)
        name = hashlib.sha256(ids.encode("utf-8", "surrogatepass")).hexdigest()[:16] + ENDING
        self._write(f"{self.path}/{name}", pa.Table.from_pylist(rows, SCHEMA))

    def write_mask(self, photo: str, data: bytes) -> None:
        """The index picture of a photo."""
        path = f"{self.path}/{MASKS}/{photo}.png"
        self.filesystem.create_dir(path.rpartition("/")[0])
        places.write(self.filesystem, path, data)

    def _table(self, path, columns):
        try:
            with self.filesystem.open_input_file(path) as file:
                return parquet.read_table(file, columns=columns)
        except (pa.ArrowInvalid, KeyError, OSError) as error:
            raise UserError(f"{path}: damaged ({str(error).splitlines()[0]}); remove it, its "
                            "photos are answered again") from None

    def _write(self, path, table):
        data = io.BytesIO()
        parquet.write_table(table, data, compression="zstd")
        places.write(self.filesystem, path, data.getvalue())

    def _asked(self):
        """What was asked before; None if nothing was."""
        path = f"{self.path}/{ASKED}"
        if self.filesystem.get_file_info(path).type == fs.FileType.NotFound:
            return None
        with self.filesystem.open_input_stream(path) as file:
            data = file.read()
        try:
            return dict(json.loads(data))
        except (ValueError, TypeError):
            raise UserError(f"{self.uri}/{ASKED}: damaged; choose another folder") from None

    def _files(self):
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(one.path for one in found if one.type == fs.FileType.File
                      and one.base_name.endswith(ENDING) and not one.base_name.startswith("."))
