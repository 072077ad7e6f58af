"""Runs a SavedModel as a server does, with TensorFlow only. Started by quickstart.py."""

from __future__ import annotations

import sys

HIDDEN = ("keras", "tf_keras", "tensorflow_probability", "tfp_genext")

# `import tensorflow` imports Keras if it is installed. A module that is None cannot be imported, as
# if it were not installed.
for name in HIDDEN:
    sys.modules[name] = None

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def query(saved_model: str, request: str, answer: str) -> None:
    """Writes the log-densities of the request's rows, and samples of its seed."""
    loaded = tf.saved_model.load(saved_model)
    given = np.load(request)
    log_prob = loaded.signatures["log_prob"](x=tf.constant(given["x"]))
    samples = loaded.signatures["sample"](
        num_samples=tf.constant(len(given["x"])), seed=tf.constant(given["seed"])
    )
    np.savez(answer, **log_prob, **samples)


def hidden_modules_loaded() -> list[str]:
    """Returns the imported modules of packages that this process must not use."""
    return [
        name
        for name, module in sys.modules.items()
        if name.split(".")[0] in HIDDEN and module is not None
    ]


query(*sys.argv[1:])
loaded_after_all = hidden_modules_loaded()
if loaded_after_all:
    sys.exit(f"these modules were loaded: {loaded_after_all}")
print(f"the SavedModel answered in a process without {', '.join(HIDDEN)}")
