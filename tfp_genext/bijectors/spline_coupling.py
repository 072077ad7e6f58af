"""The coupling layer of neural spline flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tfp_genext import masks
from tfp_genext.bijectors.coupling import Coupling
from tfp_genext.bijectors.signed_mask import choose_mask
from tfp_genext.transformers import Spline, Transformer


class SplineCoupling(Coupling):
    """Coupling layer of neural spline flows, with monotone splines.

    With x split into the masked part x0 and the rest x1, and a spline g whose bins and slopes come
    from x0 (Durkan et al., 2019, arXiv:1906.04032):

        forward   y0 = x0,  y1 = g(x1; x0)
        inverse   x0 = y0,  x1 = g^-1(y1; y0)
        log-det   sum(log g'(x1; x0))

    Both directions are in closed form and cost one evaluation of the network. Values outside the
    interval of the spline are unchanged.

    Args:
      num_masked, fraction_masked, mask, event_ndims: as in `gx.bijectors.AffineCoupling`.
      conditioner: as in `gx.bijectors.Coupling`.
      transformer: the family of splines. Default: `gx.transformers.Spline()`.
      validate_args, name: as in `tfb.Bijector`. The default name is `"spline_coupling"`.

    Raises:
      ValueError: if not exactly one mask is given, the conditioner is missing, the mask does not
        fit the event, or the network returns another size.
      TypeError: if `num_masked` is not an integer, `fraction_masked` not a float, `mask` not
        boolean or `transformer` not a transformer.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    spline = gx.transformers.Spline(num_bins=4)
    network = gx.networks.MLP([2, spline.params_size], hidden_units=[32])
    coupling = gx.bijectors.SplineCoupling(1, conditioner=network, transformer=spline)
    assert coupling.forward(tf.zeros([5, 3])).shape == [5, 3]
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
        transformer: Transformer | None = None,
        event_ndims: int = 1,
    ) -> None:
        mask = masks.hashable(mask, event_ndims)
        parameters = dict(locals())
        super().__init__(
            choose_mask(num_masked, fraction_masked, mask),
            conditioner,
            Spline() if transformer is None else transformer,
            event_ndims=event_ndims,
            validate_args=validate_args,
            parameters=parameters,
            name=name or "spline_coupling",
        )
