"""Warnings about data on which training fails without an error."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from tfp_genext.core import checks
from tfp_genext.core.column_moments import ColumnMoments

# Data this many standard deviations from its mass are far off an untrained density.
_FAR = 10.0
# Data of a smaller standard deviation, beside that of the density, are narrow.
_NARROW = 1e-2
# Fewer rows say nothing of a column.
_FEWEST = 8
_MOST_NAMED = 8
# By how much a layer may change the scale of data and still be noise.
_TOLERANCE = 0.1

_RESCALING = (
    keras.layers.Normalization,
    keras.layers.Rescaling,
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.UnitNormalization,
)
_WAY_OUT = (
    "a layer that keeps the scale of the data: log-densities and samples would come out in scaled "
    "units. Call `model.adapt(x)`, which puts the scale into the density; images of whole numbers "
    "take `gx.layers.Dequantize` and a flow with `data_bijector=gx.flows.pixels(256)`"
)


def refuse_rescaling(layers: list[keras.layers.Layer]) -> None:
    """Raises `ValueError` if a preprocessing layer rescales the data."""
    for layer in layers:
        if isinstance(layer, _RESCALING):
            raise ValueError(checks.message("preprocessing", _WAY_OUT, layer))


def refuse_change_of_scale(layer: keras.layers.Layer, x: np.ndarray, prepared: np.ndarray) -> None:
    """Raises `ValueError` if a layer shifts or scales data by more than noise would.

    Args:
      layer: prepares the data.
      x: a batch as it was given.
      prepared: the same batch after the layer, out of training.
    """
    if len(x) < _FEWEST or np.shape(x) != np.shape(prepared):
        return
    x, prepared = (np.asarray(v, np.float64).reshape([len(x), -1]) for v in (x, prepared))
    deviation = x.std(axis=0)
    x, prepared, deviation = (v[..., deviation > 0.0] for v in (x, prepared, deviation))
    shift = prepared.mean(axis=0) - x.mean(axis=0)
    residuals = prepared - prepared.mean(axis=0)
    slope = np.mean((x - x.mean(axis=0)) * residuals, axis=0) / deviation**2
    noise = (residuals - slope * (x - x.mean(axis=0))).std(axis=0)
    uncertainty = 5.0 * noise / (deviation * np.sqrt(len(x)))
    # Noise on whole numbers may move them by up to 1.
    moved = np.abs(shift) > 1.0 + _TOLERANCE * deviation + 5.0 * noise / np.sqrt(len(x))
    if (moved | (np.abs(slope - 1.0) > _TOLERANCE + uncertainty)).any():
        raise ValueError(checks.message("preprocessing", _WAY_OUT, layer))


def warn_of_lattices(x: np.ndarray) -> None:
    """Warns of columns with an unbounded density: constants and whole numbers.

    Args:
      x: events `[N, ..., D]` of a continuous distribution.
    """
    if x.dtype.kind != "f" or len(x) < _FEWEST:
        return
    columns = x.reshape([len(x), -1])
    constant = (columns == columns[0]).all(axis=0)
    whole = ~constant & (columns == np.floor(columns)).all(axis=0)
    if constant.any() and not constant.all():
        _warn(
            f"{_columns(constant, x)} a single value, on which a density grows without bound: "
            "leave it out, or add noise to it."
        )
    if whole.any():
        _warn(
            f"{_columns(whole, x)} whole numbers only, on which a density grows without bound and "
            "the NLL says nothing: add noise (x + u, u uniform on [0, 1), as `gx.layers.Dequantize`"
            " does for images), or model them by a discrete head, as in `gx.autoregressive.made` "
            "with `gx.distributions.IndependentPoisson([])`."
        )


def warn_of_distance(x: np.ndarray, residuals: np.ndarray) -> None:
    """Warns of data far from the mass of the untrained density.

    Args:
      x: events `[N, ..., D]`.
      residuals: in standard deviations from the mean of the density, `[N, ..., D]`, or of its base.
    """
    if len(residuals) < _FEWEST or not np.isfinite(residuals).all():
        return
    moments = ColumnMoments()
    moments.update(residuals)
    far = moments.root_mean_square() > _FAR
    narrow = (moments.stddev < _NARROW) & ~moments.constant(float(np.finfo(np.float32).eps))
    wrong = np.atleast_1d(far | narrow)
    if not wrong.any():
        return
    of_data = ColumnMoments()
    of_data.update(x)
    same = np.shape(of_data.mean) == np.shape(far)
    named = f"{_columns(wrong, x, last_axis=True)} values" if same else "`x` holds values"
    first = int(np.argmax(wrong))
    mean, stddev = np.atleast_1d(of_data.mean), np.atleast_1d(of_data.stddev)
    received = (
        f"mean {mean[first]:.4g} and standard deviation {stddev[first]:.4g} in the first of them"
        if same
        else f"mean {mean.mean():.4g}"
    )
    _warn(
        f"{named} far from where the untrained density has its mass, or much narrower than it, and "
        "training may not get there. Call `model.adapt(x)` before `fit`, or build a flow with "
        f"`act_norm=True`. Received: {received}."
    )


def _columns(marked: np.ndarray, x: np.ndarray, *, last_axis: bool = False) -> str:
    places = np.flatnonzero(marked)
    if marked.size == 1:
        return "`x` holds"
    entries = "columns" if x.ndim == 2 else "channels" if last_axis else "entries"
    if len(places) == marked.size:
        return f"All {marked.size} {entries} of `x` hold"
    shown = ", ".join(map(str, places[:_MOST_NAMED]))
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    if len(places) == 1:
        return f"One of the {marked.size} {entries} of `x`, number {shown}, holds"
    return f"{len(places)} of the {marked.size} {entries} of `x`, numbers {shown}{more}, hold"


def _warn(text: str) -> None:
    # Attributed to the caller of `fit`.
    warnings.warn(text, UserWarning, stacklevel=6)


def as_array(x: Any) -> np.ndarray:
    """Returns a batch as a NumPy array."""
    return x.numpy() if hasattr(x, "numpy") else np.asarray(x)
