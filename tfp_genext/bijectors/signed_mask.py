"""Coupling masks given by TFP's arguments, a signed number or a fraction of the units."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfp_genext import masks


class SignedMask:
    """Mask of a signed number or fraction of the units; negative values mask the last ones."""

    def __init__(self, num_masked: Any, fraction_masked: Any) -> None:
        _check_mask_size(num_masked, fraction_masked)
        self._num_masked = None if num_masked is None else int(num_masked)
        self._fraction_masked = None if fraction_masked is None else float(fraction_masked)
        self._input_depth: int | None = None

    @property
    def masked_size(self) -> int:
        """Signed number of masked units; a fraction is of the last event size seen."""
        if self._num_masked is not None:
            return self._num_masked
        return int(np.round((self._input_depth or 0) * (self._fraction_masked or 0.0)))

    def __call__(self, size: int | None) -> np.ndarray:
        # The size may be unknown in a graph. As in TFP, that of an earlier call is used then.
        size = self._input_depth if size is None else size
        if size is None:
            raise NotImplementedError(
                "Rightmost dimension must be known prior to graph execution. Received: unknown"
            )
        self._input_depth = size
        if abs(self.masked_size) >= size:
            raise ValueError(
                f"Number of masked units {self.masked_size} must be smaller than the event size "
                f"{size}. Received: num_masked={self._num_masked}, "
                f"fraction_masked={self._fraction_masked}"
            )
        return masks.prefix_mask(size, self.masked_size)


def choose_mask(num_masked: Any, fraction_masked: Any, mask: Any) -> Any:
    """Returns the mask of a coupling from the one of three arguments that is given.

    Raises:
      ValueError: if not exactly one is given, or a fraction is out of range.
      TypeError: if `num_masked` is not an integer, or `fraction_masked` is not a float.
    """
    if mask is None:
        return SignedMask(num_masked, fraction_masked)
    if num_masked is not None or fraction_masked is not None:
        raise ValueError(
            "Exactly one of `num_masked`, `fraction_masked` and `mask` should be specified."
            f" Received: {num_masked=}, {fraction_masked=}, {mask=}"
        )
    return mask


def _check_mask_size(num_masked: Any, fraction_masked: Any) -> None:
    received = f"Received: num_masked={num_masked!r}, fraction_masked={fraction_masked!r}"
    if num_masked is not None and fraction_masked is not None:
        raise ValueError(
            f"Exactly one of `num_masked` and `fraction_masked` should be specified. {received}"
        )
    if num_masked is not None:
        if not _is_whole(num_masked):
            raise TypeError(
                f"`num_masked` must be an integer. Got: {num_masked} of type {type(num_masked)}. "
                f"{received}"
            )
        return
    if not np.issubdtype(type(fraction_masked), np.floating):
        raise TypeError(
            f"`fraction_masked` must be a float. Got: {fraction_masked} of type "
            f"{type(fraction_masked)}. {received}"
        )
    if not abs(fraction_masked) < 1.0:
        raise ValueError(
            f"`fraction_masked` must be in (-1, 1), but is {fraction_masked}. {received}"
        )


def _is_whole(value: Any) -> bool:
    """Tells whether a value is an integer; a float with an integer value is one, as in TFP."""
    if isinstance(value, (bool, np.bool_, str, bytes)):
        return False
    try:
        return bool(int(value) == value)
    except (TypeError, ValueError, OverflowError):
        return False
