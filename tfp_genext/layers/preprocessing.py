"""Undoing what a preprocessing layer does to data."""

from __future__ import annotations

from typing import Any

import keras


def undone(layer: keras.layers.Layer | None, events: Any) -> Any:
    """Returns events of a model as data that its preprocessing layer takes.

    A layer that changes the units of data, or their kind, has a method `inverse`, from what the
    layer returns back to data, of any leading dimensions: `gx.layers.Dequantize.inverse` gives
    whole numbers. Layers without it are taken to change neither. Those of a `keras.Sequential` are
    undone from the last to the first.

    Args:
      layer: the preprocessing, or `None`.
      events: `[..., *event]`, as the layer returns them.
    """
    if isinstance(layer, keras.Sequential):
        for part in reversed(layer.layers):
            events = undone(part, events)
        return events
    inverse = getattr(layer, "inverse", None)
    return events if inverse is None else inverse(events)


def can_undo(layer: keras.layers.Layer | None) -> bool:
    """Tells whether a layer, or a part of a `keras.Sequential`, has a method `inverse`."""
    if isinstance(layer, keras.Sequential):
        return any(map(can_undo, layer.layers))
    return getattr(layer, "inverse", None) is not None
