"""Recipes: functions that build networks and variables and return an ordinary TFP distribution.

Recipes create, bijectors receive: every variable exists when a recipe returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import bijectors, checks
from tfp_genext.bijectors import act_norm as act_norms
from tfp_genext.bijectors import conditioning
from tfp_genext.networks import MLP
from tfp_genext.transformers import Affine, Transformer

Permutation = Callable[[int, int], Sequence[int]]


def real_nvp(
    event_shape: Sequence[int],
    *,
    num_layers: int,
    hidden_units: Sequence[int],
    activation: Any = "relu",
    transformer: Transformer | None = None,
    permutation: Permutation | None = None,
    act_norm: bool = False,
    base: tfd.Distribution | None = None,
    conditional_event_shape: Sequence[int] | None = None,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "real_nvp",
) -> tfd.TransformedDistribution:
    """Returns a Real NVP: affine couplings, each moving the half that the one before kept.

        forward   x = f_1(f_2(... f_L(z)))          each f an affine coupling
        inverse   z = f_L^-1(... f_1^-1(x))
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    Sampling and density both cost one evaluation of each network (Dinh et al., 2017 [1]).

    Args:
      event_shape: `[D]`, D at least 2.
      num_layers: number of couplings, L.
      hidden_units: widths of the hidden layers of each network.
      activation: Keras activation of the hidden layers. Default: `"relu"`.
      transformer: what a coupling does to the half that moves. Default: `gx.transformers.Affine()`.
      permutation: called as `permutation(D, step)`, gives the order of the dimensions for the next
        pair of couplings: `gx.masks.reversed_order`, `gx.masks.random_order(seed)` or your own. The
        two couplings of a pair move one half each, so that every pair moves and reads everything.
        Default: none.
      act_norm: whether an `ActNorm` follows each coupling on the data side. Default: `False`.
      base: distribution of the noise, of event shape `[D]`. Default: standard normal.
      conditional_event_shape: shape of one event of `conditional_input`. Default: none.
      dtype: dtype of base, variables and networks. Default: Keras' dtype policy.
      validate_args: passed to TFP. Default: `False`.
      name: name of the distribution.

    Returns:
      A TFP transformed distribution, the identity of the base when new.

    Raises:
      ValueError: for sizes out of range, or a base of another event shape or dtype.
      TypeError: for sizes that are no integers.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.real_nvp([4], num_layers=4, hidden_units=[32, 32])
    x, log_prob = flow.experimental_sample_and_log_prob(10, seed=[1, 2])
    tf.debugging.assert_near(flow.log_prob(tf.identity(x)), log_prob, atol=1e-4)
    ```

    #### References

    [1]: Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio. Density estimation using Real NVP. 2017.
         https://arxiv.org/abs/1605.08803
    """
    transformer = transformer or Affine()
    if not isinstance(transformer, Transformer):
        raise TypeError(checks.message("transformer", "a gx.transformers.Transformer", transformer))
    plan = _Plan(
        event_shape, num_layers, hidden_units, activation, conditional_event_shape, base, dtype
    )

    def couple(num_masked: int, network: keras.Layer) -> tfb.Bijector:
        return bijectors.AffineCoupling(
            num_masked, shift_and_log_scale_fn=network, transformer=transformer
        )

    steps = plan.steps(couple, transformer.params_size, permutation, act_norm)
    return plan.transformed(_standard_normal, steps, validate_args, name)


def nice(
    event_shape: Sequence[int],
    *,
    num_layers: int,
    hidden_units: Sequence[int],
    activation: Any = "relu",
    permutation: Permutation | None = None,
    act_norm: bool = False,
    base: tfd.Distribution | None = None,
    conditional_event_shape: Sequence[int] | None = None,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "nice",
) -> tfd.TransformedDistribution:
    """Returns a NICE: additive couplings behind one diagonal scaling, on logistic noise.

        forward   x = f_1(f_2(... f_L(exp(s) * z)))     each f an additive coupling
        inverse   z = exp(-s) * f_L^-1(... f_1^-1(x))
        log p(x)  = log p(z) - sum(s)

    Sampling and density both cost one evaluation of each network (Dinh et al., 2015 [1]).

    Args:
      event_shape: `[D]`, D at least 2.
      num_layers: number of couplings, L.
      hidden_units: widths of the hidden layers of each network.
      activation: Keras activation of the hidden layers. Default: `"relu"`.
      permutation: as in `gx.flows.real_nvp`. Default: none.
      act_norm: whether an `ActNorm` follows each coupling on the data side. Default: `False`.
      base: distribution of the noise, of event shape `[D]`. Default: standard logistic.
      conditional_event_shape: shape of one event of `conditional_input`. Default: none.
      dtype: dtype of base, variables and networks. Default: Keras' dtype policy.
      validate_args: passed to TFP. Default: `False`.
      name: name of the distribution.

    Returns:
      A TFP transformed distribution, the identity of the base when new.

    Raises:
      ValueError: for sizes out of range, or a base of another event shape or dtype.
      TypeError: for sizes that are no integers.

    Example:

    ```python
    import tfp_genext as gx

    flow = gx.flows.nice([4], num_layers=4, hidden_units=[32, 32])
    assert flow.sample(10, seed=[1, 2]).shape == [10, 4]
    ```

    #### References

    [1]: Laurent Dinh, David Krueger, Yoshua Bengio. NICE: Non-linear Independent Components
         Estimation. 2015. https://arxiv.org/abs/1410.8516
    """
    plan = _Plan(
        event_shape, num_layers, hidden_units, activation, conditional_event_shape, base, dtype
    )

    def couple(num_masked: int, network: keras.Layer) -> tfb.Bijector:
        return bijectors.AdditiveCoupling(num_masked, conditioner=network)

    steps = plan.steps(couple, 1, permutation, act_norm)
    scaling = tfb.Scale(log_scale=tf.Variable(tf.zeros([plan.size], plan.dtype), name="log_scale"))
    return plan.transformed(_standard_logistic, [*steps, scaling], validate_args, name)


def condition(flow: tfd.Distribution, conditional_input: Any) -> tfd.Distribution:
    """Returns a conditional flow with its context bound: an ordinary batch of distributions.

    Args:
      flow: a transformed distribution whose bijector takes `conditional_input`.
      conditional_input: context `[*batch, *conditional_event_shape]`.

    Returns:
      A transformed distribution of that batch shape, on the variables of `flow`.

    Raises:
      TypeError: where `flow` is no transformed distribution.
      ValueError: where it takes no context, or one of another shape.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8], conditional_event_shape=[3])
    bound = gx.flows.condition(flow, tf.ones([5, 3]))
    assert bound.batch_shape == [5]
    assert bound.sample(10, seed=[1, 2]).shape == [10, 5, 2]
    ```
    """
    bijector = _bijector_of(flow)
    dtype = None if isinstance(conditional_input, tf.Variable) else flow.dtype
    if dtype is not None and not tf.is_tensor(conditional_input):
        conditional_input = tf.convert_to_tensor(conditional_input, dtype_hint=dtype)
    bound = bijectors.Conditioned(bijector, conditional_input)
    return tfd.TransformedDistribution(
        flow.distribution, bound, validate_args=flow.validate_args, name=f"conditioned_{flow.name}"
    )


def initialize(flow: tfd.Distribution, x: Any, *, conditional_input: Any = None) -> None:
    """Initialises every `ActNorm` of a flow from a batch of data, whatever their state.

    Run it before training, outside any `tf.function`; `DensityModel.fit` does it by itself, on its
    first batch.

    Args:
      flow: a transformed distribution.
      x: data `[N, ...]`.
      conditional_input: context `[N, *conditional_event_shape]` of a conditional flow.

    Raises:
      TypeError: where `flow` is no transformed distribution, or `x` of another dtype.
      ValueError: where `x` is of another shape, empty, or not finite.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8], act_norm=True)
    gx.flows.initialize(flow, 5.0 + 3.0 * tf.random.stateless_normal([100, 2], seed=[1, 2]))
    ```
    """
    bijector = _bijector_of(flow)
    x = tf.convert_to_tensor(x, dtype_hint=flow.dtype)
    checks.event("x", x, flow.event_shape.as_list(), flow.dtype)
    checks.rows("x", x)
    conditions = {} if conditional_input is None else {"conditional_input": conditional_input}
    act_norms.initialize(bijector, x, **conditions)


def conditional_event_shape(distribution: tfd.Distribution) -> tuple[int, ...] | None:
    """Returns the shape of one event of `conditional_input`, or `None` for no context."""
    bijector = getattr(distribution, "bijector", None)
    if not isinstance(bijector, tfb.Bijector):
        return None
    return conditioning.conditional_event_shape(bijector)


def bijector_kwargs(distribution: tfd.Distribution, conditional_input: Any) -> dict[str, Any]:
    """Returns the keyword arguments that hand a context to a flow's methods; none for `None`.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8], conditional_event_shape=[3])
    kwargs = gx.flows.bijector_kwargs(flow, tf.ones([5, 3]))
    assert flow.log_prob(tf.zeros([5, 2]), **kwargs).shape == [5]
    ```
    """
    if conditional_input is None:
        return {}
    conditions = {"conditional_input": conditional_input}
    return {"bijector_kwargs": conditioning.route(_bijector_of(distribution), conditions)}


class _Plan:
    """The checked arguments that all recipes for vectors share."""

    def __init__(
        self,
        event_shape: Any,
        num_layers: Any,
        hidden_units: Any,
        activation: Any,
        conditional_event_shape: Any,
        base: Any,
        dtype: Any,
    ) -> None:
        (self.size,) = checks.vector_shape("event_shape", event_shape, minimum=2)
        self.num_layers = checks.positive_int("num_layers", num_layers)
        self.hidden_units = checks.positive_ints("hidden_units", hidden_units)
        self.activation = activation
        self.context_shape = conditional_event_shape
        self.layer_dtype = None if dtype is None else checks.float_dtype("dtype", dtype).name
        policy = keras.dtype_policies.get(self.layer_dtype)
        self.dtype = tf.as_dtype(policy.variable_dtype)
        self.base = base

    def network(self, num_visible: int, params_shape: tuple[int, ...], index: int) -> MLP:
        network = MLP(
            params_shape,
            self.hidden_units,
            activation=self.activation,
            conditional_event_shape=self.context_shape,
            dtype=self.layer_dtype,
            name=f"conditioner_{index}",
        )
        network.build((None, num_visible))
        return network

    def steps(
        self,
        couple: Callable[[int, keras.Layer], tfb.Bijector],
        params_size: int,
        permutation: Permutation | None,
        act_norm: bool,
    ) -> list[tfb.Bijector]:
        """Returns couplings, norms and permutations, outermost first."""
        half = self.size // 2
        steps: list[tfb.Bijector] = []
        for i in range(self.num_layers):
            if permutation is not None and i > 0 and i % 2 == 0:
                steps.append(tfb.Permute(_checked_order(permutation, self.size, i)))
            if act_norm:
                steps.append(self._act_norm())
            num_masked = half if i % 2 == 0 else half - self.size
            num_moved = self.size - abs(num_masked)
            network = self.network(abs(num_masked), (num_moved, params_size), i)
            steps.append(couple(num_masked, network))
        return steps

    def _act_norm(self) -> bijectors.ActNorm:
        zeros = tf.zeros([self.size], self.dtype)
        return bijectors.ActNorm(
            tf.Variable(zeros, name="shift"),
            tf.Variable(zeros, name="log_scale"),
            initialized=tf.Variable(False, trainable=False, name="initialized"),
        )

    def transformed(
        self,
        default_base: Callable[[int, tf.DType], tfd.Distribution],
        steps: list[tfb.Bijector],
        validate_args: bool,
        name: str,
    ) -> tfd.TransformedDistribution:
        base = default_base(self.size, self.dtype) if self.base is None else self.base
        _check_base(base, self.size, self.dtype)
        return tfd.TransformedDistribution(
            base, bijectors.Compose(steps), validate_args=validate_args, name=name
        )


def _standard_normal(size: int, dtype: tf.DType) -> tfd.Distribution:
    zeros = tf.zeros([size], dtype)
    return tfd.Independent(tfd.Normal(zeros, tf.ones_like(zeros)), reinterpreted_batch_ndims=1)


def _standard_logistic(size: int, dtype: tf.DType) -> tfd.Distribution:
    zeros = tf.zeros([size], dtype)
    return tfd.Independent(tfd.Logistic(zeros, tf.ones_like(zeros)), reinterpreted_batch_ndims=1)


def _check_base(base: Any, size: int, dtype: tf.DType) -> None:
    expected = f"a tfd.Distribution of event shape [{size}] and dtype {dtype.name}"
    if not isinstance(base, tfd.Distribution):
        raise TypeError(checks.message("base", expected, base))
    if base.event_shape != [size] or base.dtype != dtype:
        raise ValueError(
            f"`base` must be {expected}. "
            f"Received: event shape {base.event_shape}, dtype {base.dtype}"
        )


def _checked_order(permutation: Permutation, size: int, step: int) -> list[int]:
    order = [int(i) for i in permutation(size, step)]
    if sorted(order) != list(range(size)):
        raise ValueError(
            f"`permutation` must return each of 0 to {size - 1} once. Received: {order}"
        )
    return order


def _bijector_of(flow: Any) -> tfb.Bijector:
    bijector = getattr(flow, "bijector", None)
    if not isinstance(flow, tfd.Distribution) or not isinstance(bijector, tfb.Bijector):
        raise TypeError(checks.message("flow", "a transformed distribution", flow))
    return bijector
