"""The coupling of neural spline flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tfp_genext import masks
from tfp_genext.bijectors.coupling import Coupling
from tfp_genext.bijectors.signed_mask import one_mask
from tfp_genext.transformers import Spline, Transformer


class SplineCoupling(Coupling):
    """Coupling layer of neural spline flows: monotone splines transform the units that move.

    With x split into the masked part x0 and the rest x1, and a spline g whose bins and slopes come
    from x0 (Durkan et al., 2019 [1]):

        forward   y0 = x0,  y1 = g(x1; x0)
        inverse   x0 = y0,  x1 = g^-1(y1; y0)
        log-det   sum(log g'(x1; x0))

    Both directions are formulas and cost one evaluation of the network. Outside the interval of the
    spline a unit stays as it is.

    Args:
      num_masked: number of units that stay unchanged; the last ones if it is negative.
      fraction_masked: the same as a fraction of the event size, in (-1, 1).
      conditioner: as in `gx.bijectors.Coupling`.
      validate_args: passed to `tfb.Bijector`. Default: `False`.
      name: name of the bijector. Default: `"spline_coupling"`.
      mask: as in `gx.bijectors.Coupling`, instead of `num_masked`.
      transformer: the family of splines. Default: `gx.transformers.Spline()`.
      event_ndims: rank of an event, 3 for images. Default: 1.

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

    #### References

    [1]: Conor Durkan, Artur Bekasov, Iain Murray, George Papamakarios. Neural Spline Flows. 2019.
         https://arxiv.org/abs/1906.04032
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
            one_mask(num_masked, fraction_masked, mask),
            conditioner,
            Spline() if transformer is None else transformer,
            event_ndims=event_ndims,
            validate_args=validate_args,
            parameters=parameters,
            name=name or "spline_coupling",
        )
