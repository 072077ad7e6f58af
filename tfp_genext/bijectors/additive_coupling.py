"""The additive coupling of NICE."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tfp_genext import masks
from tfp_genext.bijectors.coupling import Coupling
from tfp_genext.bijectors.signed_mask import choose_mask
from tfp_genext.transformers import Additive


class AdditiveCoupling(Coupling):
    """Additive coupling layer of NICE, which preserves volume.

    With x split into the masked part x0 and the rest x1 (Dinh et al., 2015, arXiv:1410.8516):

        forward   y0 = x0,  y1 = x1 + shift(x0)
        inverse   x0 = y0,  x1 = y1 - shift(y0)
        log-det   0

    Both directions cost one evaluation of the network. The Jacobian depends on x although its
    determinant does not, so `is_constant_jacobian` is `False`: TFP would otherwise treat the layer
    as affine and return wrong means.

    Args:
      num_masked, fraction_masked, mask, event_ndims: as in `gx.bijectors.AffineCoupling`.
      conditioner: a Keras 3 layer, called as `layer(x0, **condition)`, that returns the shift,
        `[..., n]` or `[..., n, 1]`; or a callable `(x0, n, **condition) -> shift`.
      validate_args, name: as in `tfb.Bijector`. The default name is `"additive_coupling"`.

    Raises:
      ValueError: if not exactly one mask is given, the conditioner is missing, the mask does not
        fit the event, or the network returns another size.
      TypeError: if `num_masked` is not an integer, `fraction_masked` not a float or `mask` not
        boolean.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    nice = gx.bijectors.AdditiveCoupling(1, conditioner=lambda x0, n: tf.repeat(x0, n, axis=-1))
    assert nice.forward([1.0, 2.0, 3.0]).numpy().tolist() == [1.0, 3.0, 4.0]
    ```
    """

    def __init__(
        self,
        num_masked: int | None = None,
        fraction_masked: float | None = None,
        conditioner: Callable | None = None,
        validate_args: bool = False,
        name: str | None = None,
        *,
        mask: Sequence[bool] | np.ndarray | None = None,
        event_ndims: int = 1,
    ) -> None:
        mask = masks.hashable(mask, event_ndims)
        parameters = dict(locals())
        super().__init__(
            choose_mask(num_masked, fraction_masked, mask),
            conditioner,
            Additive(),
            event_ndims=event_ndims,
            validate_args=validate_args,
            parameters=parameters,
            name=name or "additive_coupling",
        )
