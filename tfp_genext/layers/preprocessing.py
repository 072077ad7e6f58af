"""Inversion of preprocessing layers."""

from __future__ import annotations

from typing import Any

import keras


def apply_inverse(layer: keras.layers.Layer | None, events: Any) -> Any:
    """Applies the inverse of a preprocessing layer to events of a model.

    A layer that changes the units or the type of the data must have a method `inverse`, which maps
    its output to data for any leading dimensions. An example is `gx.layers.Dequantize.inverse`.
    Layers without this method are assumed to change neither. The layers of a `keras.Sequential`
    are inverted from the last to the first.

    Args:
      layer: the preprocessing layer, or `None`.
      events: output of the layer, `[..., *event]`.
    """
    if isinstance(layer, keras.Sequential):
        for part in reversed(layer.layers):
            events = apply_inverse(part, events)
        return events
    inverse = getattr(layer, "inverse", None)
    return events if inverse is None else inverse(events)


def has_inverse(layer: keras.layers.Layer | None) -> bool:
    """Tells whether a layer, or a layer of a `keras.Sequential`, has a method `inverse`."""
    if isinstance(layer, keras.Sequential):
        return any(map(has_inverse, layer.layers))
    return getattr(layer, "inverse", None) is not None
