"""Generative models for TensorFlow Probability and Keras 3.

Example:

```python
import tfp_genext as gx

flow = gx.flows.real_nvp([4], num_layers=4, hidden_units=[32])
model = gx.models.DensityModel(flow)
```
"""

# ruff: noqa: E402
from tfp_genext.core.backend import quiet_tfp, require_tensorflow_backend

require_tensorflow_backend()

with quiet_tfp():
    from tfp_genext import (
        autoregressive,
        bijectors,
        callbacks,
        distributions,
        flows,
        layers,
        masks,
        models,
        networks,
        numerics,
        objectives,
        saving,
        serving,
        transformers,
    )
from tfp_genext._version import __version__
from tfp_genext.core.public_names import module_hooks

__all__ = [
    "__version__",
    "autoregressive",
    "bijectors",
    "callbacks",
    "distributions",
    "flows",
    "layers",
    "masks",
    "models",
    "networks",
    "numerics",
    "objectives",
    "saving",
    "serving",
    "transformers",
]

__getattr__, __dir__ = module_hooks(__name__, __all__)
