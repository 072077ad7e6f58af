"""Checks that a file of weights holds the whole state of the optimizers."""

from __future__ import annotations

from collections.abc import Mapping

import h5py
import keras

from tfp_genext.saving.errors import wrong


def check(
    file: h5py.File,
    optimizers: Mapping[str, keras.optimizers.Optimizer],
    *,
    required: bool = True,
) -> None:
    """Checks the number and the shapes of the variables of optimizers before any is loaded.

    Keras warns, and leaves an optimizer as it is, if its variables are not all there.

    Args:
      file: an open HDF5 file.
      optimizers: by their groups in the file. Those that are not built have no state to lose.
      required: whether a file of weights alone, without any state, is an error. Default: `True`.

    Raises:
      ValueError: if variables are missing, too many, or of other shapes.
    """
    for group, optimizer in optimizers.items():
        stored = file.get(f"{group}/vars")
        expected = {str(i): tuple(v.shape) for i, v in enumerate(optimizer.variables)}
        values = stored.items() if isinstance(stored, h5py.Group) else ()
        found = {key: getattr(value, "shape", None) for key, value in values}
        if not optimizer.built or not (found or required):
            continue
        if found != expected:
            different = sorted(found.items() ^ expected.items(), key=str)
            raise wrong(
                f"hold the whole state of the optimizers, the {len(expected)} variables of "
                f"{group!r} among it (compile the model anew to load weights alone)",
                f"{len(found)} variables, where {different[:3]} differ",
            )
