"""Configurations over the whole public face, drawn by hypothesis.

A configuration is plain data that its `repr` writes as code: what fails is printed, and kept. It
says how something is built, from which seed its weights and its points come, and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import strategies as st

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

BATCHES = [(), (3,), (0,), (2, 3), (1, 2, 1)]

dtypes = st.sampled_from(["float32", "float64"])
batches = st.sampled_from(BATCHES)
seeds = st.integers(0, 10_000)
# How far weights stand off the start, where much would vanish.
sizes = st.sampled_from([0.3, 0.0, 1.0])
# How far points lie from zero.
spreads = st.sampled_from([1.0, 0.1, 4.0])
contexts = st.sampled_from([None, (2,), (), (1, 2)])
activations = st.sampled_from(["tanh", "relu", "softplus", "elu", "sigmoid"])
widths = st.lists(st.integers(1, 5), max_size=2)
bounds = st.sampled_from([2.0, 0.1, 1.0, 4.0])


@contextlib.contextmanager
def without_graphs() -> Iterator[None]:
    """Runs what is a graph otherwise step by step: for one small call, tracing is dear."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def moved(build: Callable[[], Any], seed: int, size: float) -> Any:
    """Returns a module or Keras layer whose variables have left their start, all by a seed."""
    keras.utils.set_random_seed(seed)
    holder = build()
    rng = np.random.default_rng(seed)
    for variable in holder.trainable_variables:
        noise = size * rng.normal(size=variable.shape)
        variable.assign_add(tf.constant(noise, variable.dtype))
    return holder


def normal(shape: Any, dtype: str, seed: int, spread: float = 1.0) -> tf.Tensor:
    """Returns normal numbers, a fresh tensor at each call."""
    return tf.constant(spread * np.random.default_rng(seed).normal(size=shape), dtype)


# Transformers.

scale_maps = st.builds(
    lambda kind, bound: kind(bound=bound),
    st.sampled_from(
        [
            gx.transformers.ExpScale,
            gx.transformers.SoftplusScale,
            gx.transformers.SigmoidScale,
            gx.transformers.PlainScale,
        ]
    ),
    bounds,
)
affines = st.builds(gx.transformers.Affine, scale_map=scale_maps)
splines = st.builds(
    gx.transformers.Spline,
    num_bins=st.integers(1, 4),
    bound=st.sampled_from([4.0, 0.5, 1.0, 20.0]),
)
sigmoidals = st.builds(gx.transformers.DeepSigmoidal, num_units=st.integers(1, 3))
dense_sigmoidals = st.builds(
    gx.transformers.DeepDenseSigmoidal, num_units=st.integers(1, 3), num_layers=st.integers(1, 3)
)
mixtures = st.builds(gx.transformers.MixtureOfGaussians, num_components=st.integers(1, 3))
monotone = st.one_of(sigmoidals, dense_sigmoidals, mixtures)
transformers = st.one_of(affines, splines, st.just(gx.transformers.Additive()), monotone)


@dataclasses.dataclass
class TransformerCase:
    """A transformer and its parameters."""

    transformer: gx.transformers.Transformer
    dtype: str
    shape: tuple[int, ...]
    seed: int
    size: float
    spread: float

    def params(self) -> list[tf.Tensor]:
        rng = np.random.default_rng(self.seed)
        shapes = [self.shape] * self.transformer.params_size
        return [tf.constant(self.size * rng.normal(size=s), self.dtype) for s in shapes]

    def points(self) -> tf.Tensor:
        """Returns points that rise along a new first axis."""
        points = normal((7, *self.shape), self.dtype, self.seed + 1, self.spread)
        return tf.sort(points, axis=0)


transformer_cases = st.builds(
    TransformerCase,
    transformers,
    dtypes,
    st.sampled_from([(), (2,), (2, 3)]),
    seeds,
    st.sampled_from([1.0, 0.0, 5.0, 100.0]),
    st.sampled_from([1.0, 0.01, 10.0, 1000.0]),
)


# Flows.


def _permutation(kind: Any) -> Any:
    """Returns what a recipe takes: nothing, the reversed order, or that of a seed."""
    if kind is None:
        return None
    return gx.masks.reversed_order if kind == "reversed" else gx.masks.random_order(kind)


def _base(kind: str | None, size: int, dtype: str) -> tfd.Distribution | None:
    zeros = tf.zeros([size], dtype)
    ones = tf.ones_like(zeros)
    made = {
        None: lambda: None,
        "student": lambda: tfd.Independent(tfd.StudentT(tf.constant(5.0, dtype), zeros, ones), 1),
        "trained": lambda: tfd.MultivariateNormalDiag(tf.Variable(zeros), 2.0 * ones),
    }
    return made[kind]()


@dataclasses.dataclass
class Recipe:
    """A recipe of `gx.flows` and its options, as plain data."""

    name: str
    event_shape: tuple[int, ...]
    dtype: str
    options: dict[str, Any]

    @property
    def context(self) -> tuple[int, ...] | None:
        return self.options.get("conditional_event_shape")

    def build(self) -> tfd.Distribution:
        options = dict(self.options)
        if "permutation" in options:
            options["permutation"] = _permutation(options["permutation"])
        if "base" in options:
            options["base"] = _base(options["base"], math.prod(self.event_shape), self.dtype)
        if options.get("data_bijector") is not None:
            options["data_bijector"] = gx.flows.pixels(
                *options["data_bijector"][:1], alpha=options["data_bijector"][1], dtype=self.dtype
            )
        return getattr(gx.flows, self.name)(self.event_shape, dtype=self.dtype, **options)


_vector_options = {
    "num_layers": st.integers(1, 2),
    "hidden_units": widths,
    "activation": activations,
    "permutation": st.sampled_from([None, "reversed", 3]),
    "act_norm": st.booleans(),
    "base": st.sampled_from([None, "student", "trained"]),
    "conditional_event_shape": contexts,
    "validate_args": st.booleans(),
}


def _vectors(name: str, smallest: int, largest: int, **options: st.SearchStrategy) -> Any:
    return st.builds(
        Recipe,
        st.just(name),
        st.tuples(st.integers(smallest, largest)),
        dtypes,
        st.fixed_dictionaries({**_vector_options, **options}),
    )


_formulas = st.one_of(affines, splines, st.just(gx.transformers.Additive()))
_bins = {"num_bins": st.integers(1, 4), "bound": st.sampled_from([4.0, 1.0])}
coupling_flows = st.one_of(
    _vectors("real_nvp", 2, 6, transformer=_formulas),
    _vectors("nice", 2, 6),
    _vectors("nsf", 2, 6, autoregressive=st.just(False), **_bins),
)
formula_flows = st.one_of(
    _vectors("maf", 1, 5, transformer=_formulas),
    _vectors("iaf", 1, 5, transformer=_formulas),
    _vectors("nsf", 1, 4, autoregressive=st.just(True), **_bins),
)
root_flows = st.one_of(
    _vectors("naf", 1, 3, num_layers=st.just(1), transformer=st.one_of(sigmoidals, mixtures)),
    _vectors("naf", 1, 2, num_layers=st.just(1), transformer=dense_sigmoidals),
    _vectors(
        "maf",
        1,
        2,
        num_layers=st.just(1),
        num_components=st.integers(1, 3),
        base=st.just(None),
    ),
)
_pixels = st.sampled_from([None, (256, None), (2, 0.05), (16, 1e-3)])
_image_options = {
    "activation": activations,
    "transformer": st.one_of(affines, st.just(gx.transformers.Additive()), splines),
    "data_bijector": _pixels,
    "conditional_event_shape": contexts,
}


@st.composite
def _glow(draw: Any) -> Recipe:
    levels = draw(st.integers(1, 2))
    sides = [2**levels * draw(st.integers(1, 2 if levels == 1 else 1)) for _ in range(2)]
    options = draw(
        st.fixed_dictionaries(
            {
                **_image_options,
                "num_steps": st.integers(1, 2),
                "hidden_channels": st.integers(1, 4),
                "learned_prior": st.booleans(),
                "seed": st.integers(0, 3),
            }
        )
    )
    shape = (*sides, draw(st.integers(1, 3 if levels == 1 else 1)))
    return Recipe("glow", shape, draw(dtypes), {"num_levels": levels, **options})


@st.composite
def _real_nvp_images(draw: Any) -> Recipe:
    levels = draw(st.integers(1, 2))
    least = [draw(st.integers(1, 3)) if levels == 1 else 1 for _ in range(2)]
    least[1] = max(least[1], 2)  # One pixel has no checkerboard.
    options = draw(
        st.fixed_dictionaries(
            {
                **_image_options,
                "num_couplings": st.integers(1, 2),
                "num_blocks": st.integers(1, 2),
                "hidden_channels": st.integers(1, 4),
                "batch_norm": st.booleans(),
            }
        )
    )
    shape = (*(2 ** (levels - 1) * side for side in least), draw(st.integers(1, 2)))
    return Recipe("real_nvp_images", shape, draw(dtypes), {"num_levels": levels, **options})


_nice_images = st.builds(
    Recipe,
    st.just("nice"),
    st.sampled_from([(2, 1, 1), (1, 2, 2), (3, 2, 1), (2, 2, 2)]),
    dtypes,
    st.fixed_dictionaries({**_vector_options, "data_bijector": _pixels}),
)
image_flows = st.one_of(_glow(), _real_nvp_images(), _nice_images)
flows = st.one_of(coupling_flows, formula_flows)


@dataclasses.dataclass
class FlowCase:
    """A flow whose weights have left their start, and points of its base with their contexts.

    Args:
      recipe: of the flow.
      batch: leading dimensions of the points.
      context_batch: those of the contexts, which broadcast against the batch.
      seed: of weights and points.
      size: of the weights' noise.
      spread: of the points.
    """

    recipe: Recipe
    batch: tuple[int, ...]
    context_batch: tuple[int, ...]
    seed: int
    size: float
    spread: float

    def build(self) -> tfd.Distribution:
        return moved(self.recipe.build, self.seed, self.size)

    def noise(self) -> tf.Tensor:
        event = self.recipe.event_shape
        if self.recipe.name == "nice" and len(event) == 3:
            event = (math.prod(event),)
        return normal((*self.batch, *event), self.recipe.dtype, self.seed + 1, self.spread)

    def context(self, batch: tuple[int, ...] | None = None) -> tf.Tensor | None:
        """Returns contexts, tiled to a batch shape where one is given."""
        if self.recipe.context is None:
            return None
        shape = (*self.context_batch, *self.recipe.context)
        made = normal(shape, self.recipe.dtype, self.seed + 2)
        return made if batch is None else tf.broadcast_to(made, [*batch, *self.recipe.context])

    def conditions(self, batch: tuple[int, ...] | None = None) -> dict[str, tf.Tensor]:
        """Returns keyword arguments of the flow's bijector."""
        made = self.context(batch)
        return {} if made is None else {"conditional_input": made}

    def kwargs(self, batch: tuple[int, ...] | None = None) -> dict[str, Any]:
        """Returns keyword arguments of the flow."""
        made = self.conditions(batch)
        return {"bijector_kwargs": made} if made else {}


@st.composite
def flow_cases(draw: Any, recipes: st.SearchStrategy, batches: Any = batches) -> FlowCase:
    """Draws cases of some recipes."""
    recipe, batch = draw(recipes), draw(batches)
    suffixes = [batch[i:] for i in range(len(batch) + 1)]
    ones = [tuple(1 if n != 0 else n for n in batch)]
    context_batch = draw(st.sampled_from([*suffixes, *ones]))
    seed, size, spread = _of_points(draw)
    if (recipe.options.get("data_bijector") or (None, None))[1] is not None:
        # From where a sigmoid is rounded to its end nothing comes back, as `pixels` says.
        size, spread = min(size, 0.3), min(spread, 1.0)
    if recipe.name == "glow":
        # A few products of triangular matrices whose entries are of order one are singular to
        # rounding.
        size = min(size, 0.3)
    return FlowCase(recipe, batch, context_batch, seed, size, spread)


def _of_points(draw: Any) -> tuple[int, float, float]:
    return draw(seeds), draw(sizes), draw(spreads)


def with_context(recipes: st.SearchStrategy) -> st.SearchStrategy:
    """Draws recipes that take a context."""
    return recipes.filter(lambda recipe: recipe.context is not None)


# Bijectors, bare and nested.


@dataclasses.dataclass
class Part:
    """A bijector of one family, or a nest of some, as plain data.

    Args:
      kind: which.
      options: of its own.
      members: of a nest.
    """

    kind: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    members: list[Part] = dataclasses.field(default_factory=list)

    def build(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        """Returns the bijector of events of a shape.

        Args:
          event: shape of an event.
          dtype: of variables.
          names: numbers that make names unlike, as a `tfb.Chain` wants them.
        """
        return getattr(self, f"_{self.kind}")(event, dtype, names)

    @property
    def conditional(self) -> bool:
        own = self.options.get("conditional_event_shape") is not None
        return own or any(member.conditional for member in self.members)

    def _name(self, names: Iterator[int]) -> str:
        return f"{self.kind}_{next(names)}"

    def _network(self, seen: int, moves: int, params: int, event_ndims: int, dtype: str) -> Any:
        options = {
            "conditional_event_shape": self.options.get("conditional_event_shape"),
            "activation": self.options["activation"],
            "unstacked": self.options["unstacked"],
            "dtype": dtype,
        }
        if event_ndims == 3:
            network = gx.networks.ConvNet((moves, params), self.options["channels"], **options)
            network.build((None, None, None, seen))
            return network
        network = gx.networks.MLP((moves, params), self.options["hidden_units"], **options)
        network.build((None, seen))
        return network

    def mask(self, event: tuple[int, ...]) -> np.ndarray:
        """Returns what a coupling keeps, by definition; booleans `[C]` or `[H, W, 1]`."""
        size, masking = event[-1], self.options["masking"]
        if "checkerboard" in masking:
            rows, columns = np.indices(event[:2])
            return ((rows + columns) % 2 == (0 if masking["checkerboard"] else 1))[..., None]
        if "mask" in masking:
            return np.array(masking["mask"])
        count = masking.get("num_masked")
        if count is None:
            count = int(np.round(size * masking["fraction_masked"]))
        kept = [i < count if count >= 0 else i >= size + count for i in range(size)]
        return np.array(kept)

    def _coupling(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        transformer, masking = self.options["transformer"], dict(self.options["masking"])
        kept, ndims = self.mask(event), len(event)
        seen = int(kept.sum()) if kept.ndim == 1 else event[-1]
        moves = int((~kept).sum()) if kept.ndim == 1 else event[-1]
        if "checkerboard" in masking:
            masking = {"mask": gx.masks.checkerboard(*event[:2], first=masking["checkerboard"])}
        network = self._network(seen, moves, transformer.params_size, ndims, dtype)
        shared = {"event_ndims": ndims, "name": self._name(names), **masking}
        if isinstance(transformer, gx.transformers.Additive):
            return gx.bijectors.AdditiveCoupling(conditioner=network, **shared)
        if isinstance(transformer, gx.transformers.Spline):
            return gx.bijectors.SplineCoupling(
                conditioner=network, transformer=transformer, **shared
            )
        given = "bijector_fn" if self.options["unstacked"] else "shift_and_log_scale_fn"
        return gx.bijectors.AffineCoupling(**{given: network}, transformer=transformer, **shared)

    def _autoregressive(
        self, event: tuple[int, ...], dtype: str, names: Iterator[int]
    ) -> tfb.Bijector:
        transformer = self.options["transformer"]
        network = gx.networks.MADE(
            event[-1],
            transformer.params_size,
            self.options["hidden_units"],
            activation=self.options["activation"],
            direct=self.options["direct"],
            order=None
            if self.options["order"] is None
            else gx.masks.random_order(self.options["order"])(event[-1], 0),
            conditional_event_shape=self.options.get("conditional_event_shape"),
            unstacked=self.options["unstacked"],
            dtype=dtype,
        )
        network.build((None, event[-1]))
        kinds = (gx.transformers.DeepSigmoidal, gx.transformers.DeepDenseSigmoidal)
        family = gx.bijectors.MaskedAutoregressive
        if isinstance(transformer, kinds):
            family = gx.bijectors.NeuralAutoregressive
        return family(network, transformer=transformer, name=self._name(names))

    def _act_norm(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        zeros = tf.zeros([event[-1]], dtype)
        return gx.bijectors.ActNorm(tf.Variable(zeros), tf.Variable(zeros), name=self._name(names))

    def _batch_norm(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        moments = gx.networks.MovingMoments(dtype=dtype)
        moments.build((None, event[-1]))
        moments.variance.assign([2.0] * event[-1])
        zeros = tf.zeros([event[-1]], dtype)
        name = self._name(names)
        return gx.bijectors.BatchNorm(moments, tf.Variable(zeros), tf.Variable(zeros), name=name)

    def _mixing(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        del names
        return gx.bijectors.Invertible1x1Conv.random(
            event[-1], seed=self.options["seed"], dtype=dtype
        )

    def _permute(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        del dtype
        order = gx.masks.random_order(self.options["seed"])(event[-1], 0)
        return gx.bijectors.Permute(order, name=self._name(names))

    def _compose(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        members = [member.build(event, dtype, names) for member in self.members]
        return gx.bijectors.Compose(members, name=self._name(names))

    def _chain(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        members = [member.build(event, dtype, names) for member in self.members]
        return tfb.Chain(members, name=self._name(names))

    def _invert(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        return tfb.Invert(self.members[0].build(event, dtype, names))

    def _partial(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        inner = self.members[0].build(event, dtype, names)
        return gx.bijectors.Partial(inner, event[-1], name=self._name(names))

    def _squeezed(self, event: tuple[int, ...], dtype: str, names: Iterator[int]) -> tfb.Bijector:
        """A bijector of squeezed images, between a squeeze and its inverse."""
        height, width, channels = event
        inner = self.members[0].build((height // 2, width // 2, 4 * channels), dtype, names)
        squeeze = gx.bijectors.Squeeze(name=self._name(names))
        return gx.bijectors.Compose(
            [tfb.Invert(squeeze), inner, squeeze], name=f"squeezed_{next(names)}"
        )


def _coupling_masks(size: int) -> st.SearchStrategy:
    """Draws all ways to say which units of so many stay."""
    counts = st.integers(1 - size, size - 1)
    fractions = st.floats(-0.99, 0.99).filter(lambda f: abs(int(np.round(size * f))) < size)
    parts = st.lists(st.booleans(), min_size=size, max_size=size).filter(
        lambda mask: any(mask) and not all(mask)
    )
    return st.one_of(
        st.fixed_dictionaries({"num_masked": counts}),
        st.fixed_dictionaries({"fraction_masked": fractions}),
        st.fixed_dictionaries({"mask": parts}),
    )


def _couplings(event: tuple[int, ...], context: Any) -> st.SearchStrategy:
    size = event[-1]
    masking = []
    if size > 1:
        masking.append(_coupling_masks(size))
    if len(event) == 3 and event[0] * event[1] > 1:
        masking.append(st.fixed_dictionaries({"checkerboard": st.booleans()}))
    if not masking:
        return st.nothing()
    options = {
        "masking": st.one_of(masking),
        "transformer": _formulas,
        "hidden_units": widths,
        "channels": st.sampled_from([2, None]),
        "activation": activations,
        "unstacked": st.booleans(),
        "conditional_event_shape": st.sampled_from([None, context]),
    }
    return st.builds(Part, st.just("coupling"), st.fixed_dictionaries(options))


def _autoregressive_parts(event: tuple[int, ...], context: Any) -> st.SearchStrategy:
    options = {
        "transformer": st.one_of(_formulas, sigmoidals),
        "hidden_units": widths,
        "activation": activations,
        "unstacked": st.booleans(),
        "direct": st.booleans(),
        "order": st.sampled_from([None, 1, 2]),
        # A MADE on the last axis of images would want a context for each of its places.
        "conditional_event_shape": st.sampled_from([None, context] if len(event) == 1 else [None]),
    }
    return st.builds(Part, st.just("autoregressive"), st.fixed_dictionaries(options))


def leaves(event: tuple[int, ...], context: Any) -> st.SearchStrategy:
    """Draws bijectors of events of a shape that are no nests."""
    seeded = st.fixed_dictionaries({"seed": st.integers(0, 3)})
    found = [
        _couplings(event, context),
        _autoregressive_parts(event, context),
        st.just(Part("act_norm")),
        st.just(Part("batch_norm")),
        st.builds(Part, st.just("mixing"), seeded),
        st.builds(Part, st.just("permute"), seeded),
    ]
    return st.one_of(found)


def nests(event: tuple[int, ...], context: Any) -> st.SearchStrategy:
    """Draws bijectors of events of a shape, of any depth."""

    def deeper(inner: st.SearchStrategy) -> st.SearchStrategy:
        several = st.lists(inner, min_size=1, max_size=3)
        one = st.lists(inner, min_size=1, max_size=1)
        nothing = st.just({})
        return st.one_of(
            st.builds(Part, st.just("compose"), nothing, several),
            st.builds(Part, st.just("chain"), nothing, several),
            st.builds(Part, st.just("invert"), nothing, one),
            st.builds(Part, st.just("partial"), nothing, one),
        )

    return st.recursive(leaves(event, context), deeper, max_leaves=4)


@dataclasses.dataclass
class BijectorCase:
    """A bijector, bare or nested, whose weights have left their start, and points for it."""

    part: Part
    event: tuple[int, ...]
    context_shape: tuple[int, ...]
    dtype: str
    batch: tuple[int, ...]
    seed: int
    size: float
    spread: float

    def build(self) -> tfb.Bijector:
        build = functools.partial(self.part.build, self.event, self.dtype, itertools.count())
        return moved(build, self.seed, self.size)

    def noise(self) -> tf.Tensor:
        return normal((*self.batch, *self.event), self.dtype, self.seed + 1, self.spread)

    def conditions(self, batch: tuple[int, ...] | None = None) -> dict[str, tf.Tensor]:
        if not self.part.conditional:
            return {}
        batch = self.batch if batch is None else batch
        shape = (*batch, *self.context_shape)
        return {"conditional_input": normal(shape, self.dtype, self.seed + 2)}


@st.composite
def bijector_cases(
    draw: Any, events: st.SearchStrategy, parts: Callable[..., st.SearchStrategy]
) -> BijectorCase:
    """Draws bijectors of some event shapes."""
    event, context = draw(events), draw(st.sampled_from([(2,), (), (1, 2)]))
    part = draw(parts(event, context))
    return BijectorCase(part, event, context, draw(dtypes), draw(batches), *_of_points(draw))


vectors = st.tuples(st.integers(1, 5))
images = st.sampled_from([(2, 2, 1), (1, 3, 2), (3, 2, 1), (2, 2, 3), (1, 1, 2)])
