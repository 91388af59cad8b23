"""Arrays of an npz file, read some rows at a time: none of them is unpacked whole."""

from __future__ import annotations

import math
import zipfile
import zlib
from types import TracebackType
from typing import IO

import numpy as np
from numpy.lib import format as npy

from ...utils.exceptions import TraceFormatError
from ..log import Log

__all__ = ["MOST_CELLS", "Archive", "StoredArray"]

MOST_CELLS = 2**20  # of a row: the experts that are chosen for a position in all layers
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class StoredArray:
    """One array; `read` gives its next rows.

    Parameters
    ----------
    log : Log
        The archive, for error messages.
    name : str
        Of the array.
    file : binary file
        Where it is read from.
    """

    def __init__(self, log: Log, name: str, file: IO[bytes]) -> None:
        self._log, self.name, self._file = log, name, file
        version = npy.read_magic(file)
        if version not in _READERS:
            raise log.error(None, f"{name} is npy of version {version}", "1.0 or 2.0")
        self.shape, column_major, self.dtype = _READERS[version](file)
        if self.dtype.kind not in "iuf":  # objects would be pickled
            raise log.error(None, f"{name} is an array of {self.dtype}", "numbers")
        if column_major and len(self.shape) > 1:
            raise log.error(None, f"{name} is Fortran-ordered", "C order")

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.shape[0])

    def read(self, rows: int) -> np.ndarray:
        """Return the next rows.

        Parameters
        ----------
        rows : int
            How many.

        Returns
        -------
        ndarray

        Raises
        ------
        TraceFormatError
            If the array ends before.
        """
        shape = (rows, *self.shape[1:])
        size = math.prod(shape) * self.dtype.itemsize
        data = self._file.read(size)
        if len(data) != size:
            problem = f"{self.name} ends after {len(data)} of {size} bytes"
            raise self._log.error(None, problem, "a whole array")
        return np.frombuffer(data, self.dtype).reshape(shape)


class Archive:
    """The arrays of an npz file by name.

    Parameters
    ----------
    log : Log
        Where it is.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._files: list[IO[bytes]] = []
        try:
            self._zip = zipfile.ZipFile(log.path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise log.error(None, f"cannot be read ({error})", "a whole npz file") from error

    def __enter__(self) -> Archive:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what is wrong with the archive becomes an error of the log."""
        for file in self._files:
            file.close()
        self._zip.close()
        if isinstance(error, zipfile.BadZipFile | zlib.error | OSError | EOFError | NotImplementedError):
            raise self._log.error(None, f"cannot be read ({error})", "a whole npz file") from error

    def __contains__(self, name: str) -> bool:
        """Tell whether there is an array of this name."""
        return f"{name}.npy" in self._zip.namelist()

    def open(self, name: str, dimensions: int, kinds: str) -> StoredArray:
        """Open an array.

        Parameters
        ----------
        name : str
            Of the array.
        dimensions : int
            How many it must have.
        kinds : str
            Kinds of its dtype: "iu" for integers, "f" for floats.

        Returns
        -------
        StoredArray

        Raises
        ------
        TraceFormatError
            If it is missing, empty, or of another shape or dtype.
        """
        if name not in self:
            raise self._log.error(None, f"{name} is missing", "an array of this name")
        file = self._zip.open(f"{name}.npy")
        self._files.append(file)
        try:
            array = StoredArray(self._log, name, file)
        except TraceFormatError:
            raise
        except ValueError as error:
            raise self._log.error(None, f"{name}: {error}", "npy") from error
        if (
            len(array.shape) != dimensions
            or not 0 < math.prod(array.shape[1:]) <= MOST_CELLS
            or not len(array)
        ):
            problem = f"{name} is of shape {array.shape}"
            expected = f"{dimensions} dimensions, not empty, a row of at most {MOST_CELLS} numbers"
            raise self._log.error(None, problem, expected)
        if array.dtype.kind not in kinds:
            expected = "floats" if kinds == "f" else "integers"
            raise self._log.error(None, f"{name} is an array of {array.dtype}", expected)
        return array
