"""Columns of tables by name, in messages about their entries."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

_MOST_NAMED = 8


def names(table: Any) -> list[Any] | None:
    """Returns the names of the columns of a data frame; `None` for an array, which has none."""
    columns = getattr(table, "columns", None)
    return None if columns is None else list(columns)


def places(bad: np.ndarray, columns: Sequence[Any] | None) -> str:
    """Describes the columns of a table that hold bad entries; empty for other arrays.

    Args:
      bad: boolean, `[N, D]` of a table.
      columns: the names of the columns; `None` for their numbers.
    """
    if bad.ndim != 2:
        return ""
    found = np.flatnonzero(bad.any(axis=0))
    known = columns if columns is not None and len(columns) == bad.shape[1] else None
    shown = [repr(i if known is None else known[i]) for i in found[:_MOST_NAMED].tolist()]
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return f", in column{'s' if len(found) > 1 else ''} {', '.join(shown)}{more}"


def of_text(array: np.ndarray, columns: Sequence[Any] | None) -> str:
    """Describes the columns of a non-numeric array that do not hold numbers."""
    if not array.ndim or array.dtype.kind not in "OUS":
        return ""
    bad = np.frompyfunc(_is_no_number, 1, 1)(array).astype(bool)
    if bad.any():
        return f", with entries that are not numbers{places(bad, columns)}"
    return ", of numbers: convert them, as by `.astype('float32')`"


def _is_no_number(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return True
        return False
    return not isinstance(value, (numbers.Real, np.bool_))
