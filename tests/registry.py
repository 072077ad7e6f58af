"""Every bijector and every distribution of the package, once; `test_contract.py` runs them all.

Adding one to the package means adding one line here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

D = 5
CONTEXT = (3,)
HALVES = [True, True, False, False, False]
IMAGE = (4, 2, 2)
SCATTERED = [True, False, True, False, False]


@dataclasses.dataclass(frozen=True)
class BijectorCase:
    """How to build a bijector, and what its Jacobian may hold."""

    name: str
    build: Callable[[str], tfb.Bijector]
    context: tuple[int, ...] | None = None
    dependencies: np.ndarray | None = None
    networks: int = 1
    # Shape of an event, and of what `forward` makes of it.
    event: tuple[int, ...] = (D,)
    image: tuple[int, ...] | None = None

    @property
    def after(self) -> tuple[int, ...]:
        return self.event if self.image is None else self.image


@dataclasses.dataclass(frozen=True)
class DistributionCase:
    """How to build a distribution, given the size of vectors; recipes take options too."""

    name: str
    build: Callable[..., tfd.Distribution]
    context: tuple[int, ...] | None = None
    networks: int = 0
    recipe: bool = True
    # How far the log-density of a new flow may be from its base's.
    start: float = 1e-12
    event: tuple[int, ...] = (D,)
    # A deep flow of this kind that inverts in float32.
    deep: dict[str, Any] = dataclasses.field(default_factory=lambda: _deep(10))
    # How far that may miss: splines are steeper than affine maps.
    round_trip: float = 1e-4


def _deep(num_layers: int) -> dict[str, Any]:
    return {"num_layers": num_layers, "hidden_units": [32, 32], "activation": "relu"}


def mlp(visible: int, params_shape: tuple[int, ...], dtype: str, **options: Any) -> gx.networks.MLP:
    """Returns a small, smooth, built network."""
    network = gx.networks.MLP(params_shape, [8, 8], activation="tanh", dtype=dtype, **options)
    network.build((None, visible))
    return network


def affine(dtype: str, *, num_masked: int = 2, transformer: Any = None, **options: Any):
    moved = D - abs(num_masked)
    return gx.bijectors.AffineCoupling(
        num_masked,
        shift_and_log_scale_fn=mlp(abs(num_masked), (moved, 2), dtype, **options),
        transformer=transformer,
    )


def masked_affine(dtype: str) -> tfb.Bijector:
    return gx.bijectors.AffineCoupling(mask=SCATTERED, bijector_fn=mlp(2, (3, 2), dtype))


def additive(dtype: str, **options: Any) -> tfb.Bijector:
    return gx.bijectors.AdditiveCoupling(-2, conditioner=mlp(2, (3, 1), dtype, **options))


def made(dtype: str, **options: Any) -> gx.networks.MADE:
    network = gx.networks.MADE(D, 2, [12, 9], activation="tanh", dtype=dtype, **options)
    network.build((None, D))
    return network


def autoregressive(dtype: str, **options: Any) -> tfb.Bijector:
    return gx.bijectors.MaskedAutoregressive(made(dtype, **options))


SPLINE = gx.transformers.Spline(num_bins=4, bound=3.0)


def spline_coupling(dtype: str, **options: Any) -> tfb.Bijector:
    network = mlp(2, (3, SPLINE.params_size), dtype, **options)
    return gx.bijectors.SplineCoupling(2, conditioner=network, transformer=SPLINE)


def transformed_made(
    dtype: str, transformer: gx.transformers.Transformer, *, size: int = D, **options: Any
) -> tfb.Bijector:
    network = gx.networks.MADE(
        size, transformer.params_size, [12, 9], activation="tanh", dtype=dtype, **options
    )
    network.build((None, size))
    if isinstance(transformer, gx.transformers.Spline):
        return gx.bijectors.MaskedAutoregressive(network, transformer=transformer)
    return gx.bijectors.NeuralAutoregressive(network, transformer=transformer)


def _lower_triangle(order: list[int]) -> np.ndarray:
    rank = np.argsort(order)
    return rank[:, None] >= rank[None, :]


SHUFFLED = [3, 0, 4, 1, 2]


def own_coupling(dtype: str, **options: Any) -> tfb.Bijector:
    """The engine itself, with a transformer that is a class of the user's alone."""
    return gx.bijectors.Coupling(SCATTERED, mlp(2, (3, 1), dtype, **options), Sinh())


def own_autoregressive(dtype: str, **options: Any) -> tfb.Bijector:
    network = gx.networks.MADE(D, 1, [12, 9], activation="tanh", dtype=dtype, **options)
    network.build((None, D))
    return gx.bijectors.Autoregressive(network, Sinh())


class Sinh:
    """What a user may write: a rising function of two lines, and no base class."""

    params_size = 1

    def bijector(self, params):
        return tfb.Sinh()(tfb.Shift(params[0])(tfb.Invert(tfb.Sinh())))


def act_norm(dtype: str) -> tfb.Bijector:
    zeros = tf.zeros([D], dtype)
    return gx.bijectors.ActNorm(tf.Variable(zeros), tf.Variable(zeros))


def batch_norm(dtype: str) -> tfb.Bijector:
    moments = gx.networks.MovingMoments(dtype=dtype)
    moments.build((None, D))
    moments.mean.assign_add([0.3] * D)
    moments.variance.assign([2.0] * D)
    zeros = tf.zeros([D], dtype)
    return gx.bijectors.BatchNorm(moments, tf.Variable(zeros), tf.Variable(zeros))


def standardized(dtype: str) -> tfb.Bijector:
    scale = gx.bijectors.Standardize.of(np.arange(D), 0.5 + np.arange(D), tf.as_dtype(dtype))
    return gx.bijectors.Compose([scale, affine(dtype)])


def mixing(dtype: str) -> tfb.Bijector:
    return gx.bijectors.Invertible1x1Conv.random(D, seed=3, dtype=dtype)


def affine_of(size: int, dtype: str) -> tfb.Bijector:
    network = mlp(1, (size - 1, 2), dtype)
    return gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=network)


def conv_net(visible: int, params_shape: tuple[int, ...], dtype: str, **options: Any):
    network = gx.networks.ConvNet(params_shape, 4, activation="tanh", dtype=dtype, **options)
    network.build((None, None, None, visible))
    return network


def channel_coupling(dtype: str) -> tfb.Bijector:
    network = conv_net(1, (1, 2), dtype)
    return gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=network, event_ndims=3)


def checkerboard_coupling(dtype: str, **options: Any) -> tfb.Bijector:
    network = conv_net(2, (2, 2), dtype, num_blocks=1, **options)
    mask = gx.masks.checkerboard(4, 2)
    return gx.bijectors.AffineCoupling(mask=mask, shift_and_log_scale_fn=network, event_ndims=3)


def callable_affine(dtype: str) -> tfb.Bijector:
    """TFP's own form of a conditioner: a callable that carries its variables as an attribute."""

    class Conditioner(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.zeros([2, 6], dtype))

        def __call__(self, x0: tf.Tensor, units: int) -> tuple[tf.Tensor, tf.Tensor]:
            flat = tf.tanh(tf.tensordot(x0, self.weights, 1))
            return flat[..., :units], flat[..., units:]

    return gx.bijectors.AffineCoupling(2, shift_and_log_scale_fn=Conditioner())


def composed(dtype: str) -> tfb.Bijector:
    inner = gx.bijectors.Compose([additive(dtype), act_norm(dtype)])
    return gx.bijectors.Compose([affine(dtype), gx.bijectors.Permute([4, 2, 0, 1, 3]), inner])


def nested_conditional(dtype: str) -> tfb.Bijector:
    conditional = {"conditional_event_shape": CONTEXT}
    inverted = tfb.Invert(affine(dtype, num_masked=-3, **conditional))
    chain = tfb.Chain([inverted, tfb.Shift(tf.ones([D], dtype))])
    return gx.bijectors.Compose([affine(dtype, **conditional), act_norm(dtype), chain])


def bound(dtype: str) -> tfb.Bijector:
    return gx.bijectors.Conditioned(nested_conditional(dtype), tf.constant([0.3, -1.0, 2.0], dtype))


def _coupling_dependencies(mask: list[bool]) -> np.ndarray:
    visible = np.array(mask)
    return np.eye(D, dtype=bool) | (~visible[:, None] & visible[None, :])


def _affine_with(scale_map: type) -> Callable[[str], tfb.Bijector]:
    transformer = gx.transformers.Affine(scale_map=scale_map())
    return lambda dtype: affine(dtype, transformer=transformer)


BIJECTORS = [
    BijectorCase("affine", affine, dependencies=_coupling_dependencies(HALVES)),
    BijectorCase(
        "affine_last_masked",
        lambda dtype: affine(dtype, num_masked=-2),
        dependencies=_coupling_dependencies(HALVES[::-1]),
    ),
    BijectorCase("affine_mask", masked_affine, dependencies=_coupling_dependencies(SCATTERED)),
    BijectorCase("affine_softplus", _affine_with(gx.transformers.SoftplusScale)),
    BijectorCase("affine_sigmoid", _affine_with(gx.transformers.SigmoidScale)),
    BijectorCase("affine_plain", _affine_with(gx.transformers.PlainScale)),
    BijectorCase(
        "affine_conditional",
        lambda dtype: affine(dtype, conditional_event_shape=CONTEXT),
        context=CONTEXT,
        dependencies=_coupling_dependencies(HALVES),
    ),
    BijectorCase("affine_callable", callable_affine, networks=0),
    BijectorCase("additive", additive, dependencies=_coupling_dependencies(HALVES[::-1])),
    BijectorCase(
        "additive_conditional",
        lambda dtype: additive(dtype, conditional_event_shape=CONTEXT),
        context=CONTEXT,
    ),
    BijectorCase("autoregressive", autoregressive, dependencies=_lower_triangle(list(range(D)))),
    BijectorCase(
        "autoregressive_ordered",
        lambda dtype: autoregressive(dtype, order=SHUFFLED),
        dependencies=_lower_triangle(SHUFFLED),
    ),
    BijectorCase(
        "autoregressive_conditional",
        lambda dtype: autoregressive(dtype, conditional_event_shape=CONTEXT),
        context=CONTEXT,
    ),
    BijectorCase(
        "autoregressive_softplus",
        lambda dtype: gx.bijectors.MaskedAutoregressive(
            bijector_fn=made(dtype),
            transformer=gx.transformers.Affine(scale_map=gx.transformers.SoftplusScale()),
        ),
    ),
    BijectorCase(
        "coupling_own_transformer", own_coupling, dependencies=_coupling_dependencies(SCATTERED)
    ),
    BijectorCase(
        "coupling_own_transformer_conditional",
        lambda dtype: own_coupling(dtype, conditional_event_shape=CONTEXT),
        context=CONTEXT,
    ),
    BijectorCase(
        "autoregressive_own_transformer",
        own_autoregressive,
        dependencies=_lower_triangle(list(range(D))),
    ),
    BijectorCase(
        "spline",
        spline_coupling,
        dependencies=_coupling_dependencies(HALVES),
    ),
    BijectorCase(
        "spline_conditional",
        lambda dtype: spline_coupling(dtype, conditional_event_shape=CONTEXT),
        context=CONTEXT,
    ),
    BijectorCase(
        "spline_autoregressive",
        lambda dtype: transformed_made(dtype, SPLINE),
        dependencies=_lower_triangle(list(range(D))),
    ),
    BijectorCase(
        "neural",
        lambda dtype: transformed_made(dtype, gx.transformers.DeepSigmoidal(num_units=3)),
        dependencies=_lower_triangle(list(range(D))),
    ),
    BijectorCase(
        "neural_dense_conditional",
        lambda dtype: transformed_made(
            dtype,
            gx.transformers.DeepDenseSigmoidal(num_units=2),
            size=3,
            conditional_event_shape=CONTEXT,
        ),
        context=CONTEXT,
        # As few as are solved in two blocks, one by a loop: loops in loops take long to compile.
        event=(3,),
    ),
    BijectorCase("invertible_1x1_conv", mixing, networks=0),
    BijectorCase("partial", lambda dtype: gx.bijectors.Partial(affine_of(3, dtype), 3), networks=1),
    BijectorCase("channels", channel_coupling, event=IMAGE),
    BijectorCase("checkerboard", checkerboard_coupling, event=IMAGE),
    BijectorCase(
        "checkerboard_conditional",
        lambda dtype: checkerboard_coupling(dtype, conditional_event_shape=CONTEXT),
        context=CONTEXT,
        event=IMAGE,
    ),
    BijectorCase("batch_norm", batch_norm, dependencies=np.eye(D, dtype=bool), networks=0),
    BijectorCase("act_norm", act_norm, dependencies=np.eye(D, dtype=bool), networks=0),
    BijectorCase("standardized", standardized, dependencies=_coupling_dependencies(HALVES)),
    BijectorCase("composed", composed, networks=2),
    BijectorCase("nested_conditional", nested_conditional, context=CONTEXT, networks=2),
    BijectorCase("bound", bound, networks=2),
]


def _flow(recipe: Callable, **options: Any) -> Callable[..., tfd.Distribution]:
    defaults = {"num_layers": 2, "hidden_units": [8, 8], "activation": "tanh", **options}

    def build(size: int, dtype: str, **overrides: Any) -> tfd.Distribution:
        return recipe([size], dtype=dtype, **{**defaults, **overrides})

    return build


SIGMOIDAL = gx.transformers.DeepSigmoidal(num_units=3)
DENSE = gx.transformers.DeepDenseSigmoidal(num_units=2)


def _image(recipe: Callable, **options: Any) -> Callable[..., tfd.Distribution]:
    """A flow of images, whose size is its own."""

    def build(size: int, dtype: str, **overrides: Any) -> tfd.Distribution:
        del size
        return recipe(IMAGE, dtype=dtype, **{**options, **overrides})

    return build


_GLOW = {"num_levels": 1, "num_steps": 2, "hidden_channels": 4, "activation": "tanh"}
_IMAGES = {
    "num_levels": 2,
    "num_couplings": 1,
    "num_blocks": 1,
    "hidden_channels": 4,
    "activation": "tanh",
}
_DEEP_GLOW = {"num_steps": 8, "hidden_channels": 16}


def mixture(size: int, dtype: str) -> tfd.Distribution:
    """A distribution of TFP's own, on raw variables."""
    return tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.Variable(tf.zeros([3], dtype))),
        tfd.MultivariateNormalDiag(
            loc=tf.Variable(tf.random.stateless_normal([3, size], [1, 2], dtype=dtype)),
            scale_diag=tfp.util.TransformedVariable(tf.ones([3, size], dtype), tfb.Softplus()),
        ),
    )


_NORMED = {"act_norm": True, "permutation": gx.masks.random_order(7)}
_CONDITIONAL = {"conditional_event_shape": CONTEXT}

DISTRIBUTIONS = [
    DistributionCase("real_nvp", _flow(gx.flows.real_nvp), networks=2),
    DistributionCase(
        "real_nvp_normed", _flow(gx.flows.real_nvp, num_layers=4, **_NORMED), networks=4
    ),
    DistributionCase(
        "real_nvp_conditional", _flow(gx.flows.real_nvp, **_CONDITIONAL), CONTEXT, networks=2
    ),
    DistributionCase("nice", _flow(gx.flows.nice), networks=2),
    DistributionCase(
        "nice_conditional", _flow(gx.flows.nice, **_NORMED, **_CONDITIONAL), CONTEXT, networks=2
    ),
    DistributionCase("maf", _flow(gx.flows.maf), networks=2),
    DistributionCase(
        "maf_conditional", _flow(gx.flows.maf, act_norm=True, **_CONDITIONAL), CONTEXT, networks=2
    ),
    DistributionCase("iaf", _flow(gx.flows.iaf), networks=2),
    DistributionCase("iaf_conditional", _flow(gx.flows.iaf, **_CONDITIONAL), CONTEXT, networks=2),
    DistributionCase("nsf", _flow(gx.flows.nsf, num_bins=4), networks=2, round_trip=1e-3),
    DistributionCase(
        "nsf_coupling",
        _flow(gx.flows.nsf, num_bins=4, autoregressive=False),
        networks=2,
        round_trip=1e-3,
    ),
    DistributionCase(
        "nsf_conditional",
        _flow(gx.flows.nsf, num_bins=4, autoregressive=False, act_norm=True, **_CONDITIONAL),
        CONTEXT,
        networks=2,
        round_trip=1e-3,
    ),
    DistributionCase("naf", _flow(gx.flows.naf, transformer=SIGMOIDAL), networks=2, start=1.0),
    DistributionCase(
        "naf_dense_conditional",
        _flow(gx.flows.naf, transformer=DENSE, **_CONDITIONAL),
        CONTEXT,
        networks=2,
        start=1.0,
        # Steeper than others: each layer is two.
        deep=_deep(3),
    ),
    DistributionCase("maf_mog", _flow(gx.flows.maf, num_components=3), networks=3, start=10.0),
    DistributionCase(
        "glow", _image(gx.flows.glow, **_GLOW), networks=2, event=IMAGE, deep=_DEEP_GLOW
    ),
    DistributionCase(
        "glow_conditional",
        _image(gx.flows.glow, **_GLOW, **_CONDITIONAL),
        CONTEXT,
        networks=3,
        event=IMAGE,
        deep=_DEEP_GLOW,
    ),
    DistributionCase(
        "real_nvp_images",
        _image(gx.flows.real_nvp_images, **_IMAGES),
        networks=4,
        event=IMAGE,
        start=0.1,
        deep={"num_couplings": 4, "hidden_channels": 16},
    ),
    DistributionCase("mixture", mixture, recipe=False),
]


def some(cases: list, *names: str) -> list:
    """Returns the cases that stand for all ways to lose a property, where a look at one is dear."""
    chosen = [case for case in cases if case.name in names]
    assert sorted(case.name for case in chosen) == sorted(names)
    return chosen


def perturb(module: tf.Module, seed: int = 0, size: float = 0.3) -> None:
    """Moves every variable off its start, where gradients and dependencies would vanish."""
    for i, variable in enumerate(module.trainable_variables):
        noise = tf.random.stateless_normal(variable.shape, [seed, i], dtype=variable.dtype)
        variable.assign_add(size * noise)


def points(shape: tuple[int, ...], dtype: str, seed: int = 5) -> tf.Tensor:
    """Returns fixed normal numbers, a fresh tensor at each call."""
    return tf.random.stateless_normal(shape, [seed, 1], dtype=dtype)


def conditions(case: BijectorCase | DistributionCase, batch: tuple[int, ...], dtype: str) -> dict:
    """Returns the keyword arguments of a case's bijector for that batch."""
    if case.context is None:
        return {}
    return {"conditional_input": points((*batch, *case.context), dtype, seed=9)}


def distribution_kwargs(case: DistributionCase, batch: tuple[int, ...], dtype: str) -> dict:
    """Returns the keyword arguments of a case's distribution for that batch."""
    kwargs = conditions(case, batch, dtype)
    return {"bijector_kwargs": kwargs} if kwargs else {}
