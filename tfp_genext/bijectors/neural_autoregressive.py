"""The autoregressive layer of neural autoregressive flows."""

from __future__ import annotations

from collections.abc import Callable

from tfp_genext.bijectors.autoregressive import Autoregressive
from tfp_genext.bijectors.conditioner_checks import checked_conditioner
from tfp_genext.transformers import DeepSigmoidal, Transformer


class NeuralAutoregressive(Autoregressive):
    """Autoregressive layer with a monotone network for each dimension.

    With an increasing function F of scalars whose parameters for k depend on y_1 ... y_(k-1) (Huang
    et al., 2018, arXiv:1804.00779):

        inverse   x_k = F(y_k; y_1 ... y_(k-1))        all at once
        forward   y_k = F^-1(x_k; y_1 ... y_(k-1))     by root finding, one after the other
        log-det   of the inverse: sum_k log F'(y_k)

    The inverse, which the density needs, costs one evaluation of the conditioner. F is increasing
    for all parameters, see `gx.transformers.DeepSigmoidal` and `DeepDenseSigmoidal`.

    Args:
      conditioner: as in `gx.bijectors.Autoregressive`.
      validate_args, name: as in `tfb.Bijector`. The default name is `"neural_autoregressive"`.
      transformer: the family of F. Default: `gx.transformers.DeepSigmoidal()`.
      tolerance: as in `gx.bijectors.Autoregressive`. Default: 0.

    Raises:
      ValueError: if the conditioner is missing or returns another size.
      TypeError: if `transformer` is not a transformer.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    sigmoidal = gx.transformers.DeepSigmoidal(num_units=4)
    network = gx.networks.MADE(3, sigmoidal.params_size, hidden_units=[16])
    layer = gx.bijectors.NeuralAutoregressive(network, transformer=sigmoidal)
    y = layer.forward(tf.ones([5, 3]))
    tf.debugging.assert_near(layer.inverse(tf.identity(y)), tf.ones([5, 3]), atol=1e-4)
    ```
    """

    def __init__(
        self,
        conditioner: Callable,
        validate_args: bool = False,
        name: str | None = None,
        *,
        transformer: Transformer | None = None,
        tolerance: float = 0.0,
    ) -> None:
        parameters = dict(locals())
        super().__init__(
            checked_conditioner("conditioner", conditioner),
            DeepSigmoidal() if transformer is None else transformer,
            tolerance=tolerance,
            validate_args=validate_args,
            parameters=parameters,
            name=name or "neural_autoregressive",
        )
