"""Configurations of heads, masked networks and autoregressive distributions, and of models."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Any

import keras
import numpy as np
import strategies
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import strategies as st

import tfp_genext as gx

tfd = tfp.distributions
heads_of = gx.distributions

event_shapes = st.sampled_from([(), (1,), (3,), (2, 2), (1, 2, 1)])

# Heads.

_bound = st.sampled_from([5.0, 0.5, 2.0])
_temperature = st.sampled_from([0.5, 0.1, 2.0])
_classes = st.sampled_from([(2,), (3,), (2, 3), (1, 2, 2)])
continuous_heads = st.one_of(
    st.builds(heads_of.IndependentNormal, event_shapes, bound=_bound),
    st.builds(heads_of.IndependentLogistic, event_shapes, bound=_bound),
)
finite_heads = st.one_of(
    st.builds(heads_of.IndependentBernoulli, event_shapes),
    st.builds(heads_of.IndependentCategorical, event_shapes, st.integers(2, 4)),
    st.builds(
        heads_of.QuantizedLogistics,
        event_shapes,
        num_components=st.integers(1, 3),
        num_values=st.sampled_from([2, 3, 5, 256]),
    ),
)
_simple_heads = st.one_of(
    continuous_heads,
    finite_heads,
    st.builds(heads_of.IndependentPoisson, event_shapes, bound=st.sampled_from([15.0, 2.0])),
    st.builds(heads_of.RelaxedBernoulli, event_shapes, temperature=_temperature),
    st.builds(heads_of.IndependentOneHotCategorical, _classes),
    st.builds(heads_of.RelaxedOneHotCategorical, _classes, temperature=_temperature),
    st.builds(heads_of.MultivariateNormalTriL, st.integers(1, 4)),
)
mixed_heads = st.builds(
    heads_of.Mixture,
    st.integers(1, 3),
    st.one_of(
        continuous_heads, finite_heads, st.builds(heads_of.MultivariateNormalTriL, st.just(2))
    ),
)
heads = st.one_of(_simple_heads, mixed_heads)
# Those whose entries an autoregressive distribution can draw.
drawn_heads = st.one_of(
    continuous_heads,
    finite_heads,
    st.builds(heads_of.Mixture, st.integers(1, 3), st.one_of(continuous_heads, finite_heads)),
)


@dataclasses.dataclass
class HeadCase:
    """A head and its parameters."""

    head: gx.distributions.Head
    dtype: str
    batch: tuple[int, ...]
    seed: int
    size: float

    def params(self) -> tf.Tensor:
        shape = (*self.batch, self.head.params_size)
        return strategies.normal(shape, self.dtype, self.seed, self.size)


def head_cases(heads: st.SearchStrategy) -> st.SearchStrategy:
    """Draws heads with parameters."""
    cases = st.builds(
        HeadCase,
        heads,
        strategies.dtypes,
        strategies.batches,
        strategies.seeds,
        st.sampled_from([1.0, 0.0, 10.0]),
    )
    # TensorFlow broadcasts eight dimensions at most, and mixtures of mixtures add three.
    return cases.filter(lambda case: len(case.batch) + len(case.head.event_shape) <= 5)


# Masked networks.


@dataclasses.dataclass
class MadeCase:
    """A MADE whose weights have left their start."""

    size: int
    params_size: int
    options: dict[str, Any]
    dtype: str
    seed: int

    def build(self) -> gx.networks.MADE:
        options = dict(self.options)
        if options["order"] is not None:
            options["order"] = gx.masks.random_order(options["order"])(self.size, 0)

        def build() -> gx.networks.MADE:
            network = gx.networks.MADE(self.size, self.params_size, dtype=self.dtype, **options)
            network.build((None, self.size))
            return network

        return strategies.moved(build, self.seed, 1.0)

    @property
    def classes(self) -> int | None:
        return self.options["num_classes"]

    def inputs(self, rows: int) -> np.ndarray:
        rng = np.random.default_rng(self.seed + 1)
        if self.classes:
            return rng.integers(0, self.classes, [rows, self.size]).astype(self.dtype)
        return rng.normal(size=[rows, self.size]).astype(self.dtype)

    def contexts(self, rows: int) -> dict[str, tf.Tensor]:
        shape = self.options["conditional_event_shape"]
        if shape is None:
            return {}
        made = strategies.normal((rows, *shape), self.dtype, self.seed + 2)
        return {"conditional_input": made}


_made_options = {
    "hidden_units": st.lists(st.integers(1, 6), max_size=3),
    "activation": st.sampled_from(["tanh", "softplus", "elu", "sigmoid"]),
    "direct": st.booleans(),
    "dropout": st.sampled_from([0.0, 0.5]),
    "unstacked": st.booleans(),
    "conditional_event_shape": strategies.contexts,
    "num_classes": st.sampled_from([None, 2, 3]),
}


@st.composite
def _made_cases(draw: Any) -> MadeCase:
    number = draw(st.integers(1, 3))
    options = {
        **draw(st.fixed_dictionaries(_made_options)),
        "num_masks": number,
        "mask_seed": draw(st.integers(0, 3)),
        "order": draw(st.sampled_from([None, 0, 1])) if number == 1 else None,
        "input_range": None,
    }
    if options["num_classes"] is None:
        options["input_range"] = draw(st.sampled_from([None, (0.0, 5.0), (-2, 1)]))
    sizes = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    return MadeCase(*sizes, options, draw(strategies.dtypes), draw(strategies.seeds))


made_cases = _made_cases()


# Autoregressive distributions.


@dataclasses.dataclass
class AutoregressiveCase:
    """An autoregressive distribution whose weights have left their start.

    Args:
      recipe: of `gx.autoregressive`.
      event_shape: shape of one event.
      options: of the recipe.
      dtype: of the networks.
      batch: shape of the batch of contexts.
      seed: of weights, contexts and noise.
    """

    recipe: str
    event_shape: tuple[int, ...]
    options: dict[str, Any]
    dtype: str
    batch: tuple[int, ...]
    seed: int

    def build(self) -> gx.distributions.Autoregressive:
        options = dict(self.options)
        if options.get("order") is not None:
            options["order"] = gx.masks.random_order(options["order"])(self.size, 0)
        recipe = getattr(gx.autoregressive, self.recipe)
        build = functools.partial(recipe, self.event_shape, dtype=self.dtype, **options)
        return strategies.moved(build, self.seed, 0.5)

    def bound(self) -> gx.distributions.Autoregressive:
        """Returns the distribution with its contexts, if it takes any."""
        made, context = self.build(), self.context()
        return made if context is None else made.condition(context)

    def context(self) -> tf.Tensor | None:
        shape = self.options["conditional_event_shape"]
        if shape is None:
            return None
        return strategies.normal((*self.batch, *shape), self.dtype, self.seed + 1)

    @property
    def size(self) -> int:
        return math.prod(self.event_shape)

    @property
    def values(self) -> int:
        """Number of values of an entry; 0 for real numbers."""
        head = self.options.get("head")
        if head is None:
            return self.options["num_classes"]
        head = getattr(head, "component", head)
        if isinstance(head, heads_of.QuantizedLogistics):
            return head.num_values
        if isinstance(head, heads_of.IndependentBernoulli):
            return 2
        return head.num_classes if isinstance(head, heads_of.IndependentCategorical) else 0

    @property
    def single(self) -> bool:
        """Whether there is one mask, and so an order."""
        return self.options.get("num_masks", 1) == 1

    def every_event(self) -> np.ndarray:
        """Returns all events that there are."""
        found = np.array(list(itertools.product(range(self.values), repeat=self.size)))
        return found.reshape([-1, *self.event_shape])

    def events(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns some events in the support."""
        rng = np.random.default_rng(self.seed + 2)
        if self.values:
            return rng.integers(0, self.values, (*shape, *self.event_shape))
        return rng.normal(size=(*shape, *self.event_shape))


_entries = st.one_of(
    st.fixed_dictionaries({"num_classes": st.sampled_from([2, 3])}),
    st.fixed_dictionaries({"head": st.builds(heads_of.IndependentNormal, st.just(()))}),
    st.fixed_dictionaries(
        {
            "head": st.builds(
                heads_of.QuantizedLogistics,
                st.just(()),
                num_components=st.integers(1, 2),
                num_values=st.sampled_from([2, 3]),
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "head": st.builds(
                heads_of.Mixture,
                st.integers(1, 2),
                st.sampled_from(
                    [heads_of.IndependentLogistic(()), heads_of.IndependentCategorical((), 3)]
                ),
            )
        }
    ),
)


@st.composite
def _vector_distributions(draw: Any) -> AutoregressiveCase:
    masks = draw(st.sampled_from([1, 1, 2, 3]))
    options = {
        **draw(_entries),
        "hidden_units": draw(strategies.widths),
        "num_masks": masks,
        "direct": draw(st.booleans()),
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "order": draw(st.sampled_from([None, 1])) if masks == 1 else None,
        "activation": draw(strategies.activations),
        "conditional_event_shape": draw(strategies.contexts),
        "validate_args": draw(st.booleans()),
    }
    shape = draw(st.sampled_from([(1,), (3,), (2, 2), (4,), (1, 2, 1)]))
    return AutoregressiveCase("made", shape, options, *_of_rows(draw))


_kernels = {
    "pixel_cnn": {
        "gated": st.booleans(),
        "kernel_size": st.sampled_from([3, 5]),
        "first_kernel_size": st.sampled_from([3, 5, 7]),
    },
    "row_lstm": {
        "kernel_size": st.sampled_from([1, 3, 5]),
        "first_kernel_size": st.sampled_from([3, 5]),
    },
    "diagonal_bilstm": {"first_kernel_size": st.sampled_from([3, 5])},
}


@st.composite
def _image_distributions(draw: Any) -> AutoregressiveCase:
    recipe = draw(st.sampled_from(sorted(_kernels)))
    shape = draw(st.sampled_from([(2, 2, 1), (1, 2, 2), (3, 1, 1), (1, 1, 2), (2, 1, 2)]))
    options = {
        **draw(_entries),
        **draw(st.fixed_dictionaries(_kernels[recipe])),
        "num_layers": draw(st.integers(1, 2)),
        "filters": shape[2] * draw(st.integers(1, 3)),
        "conditional_event_shape": draw(strategies.contexts),
        "validate_args": draw(st.booleans()),
    }
    return AutoregressiveCase(recipe, shape, options, *_of_rows(draw))


def _of_rows(draw: Any) -> tuple[str, tuple[int, ...], int]:
    return draw(strategies.dtypes), draw(strategies.batches), draw(strategies.seeds)


vector_distributions = _vector_distributions()
image_distributions = _image_distributions()


# Networks with heads, and models.


@dataclasses.dataclass
class ConditionalCase:
    """A network with a head, and a flow on top if wanted.

    Args:
      head: the head.
      flow: recipe of the flow on the head's events, vectors; `None` for none.
      inputs: size of an input.
      dtype: of the layers.
      seed: of weights and inputs.
    """

    head: gx.distributions.Head
    flow: strategies.Recipe | None
    inputs: int
    dtype: str
    seed: int

    def build(self) -> gx.distributions.Conditional:
        return strategies.moved(self._new, self.seed, 0.3)

    def _new(self) -> gx.distributions.Conditional:
        bijector, extra = None, 0
        if self.flow is not None:
            bijector = strategies.moved(self.flow.build, self.seed + 1, 0.3).bijector
            extra = math.prod(self.flow.context) if self.flow.context is not None else 0
        network = keras.layers.Dense(self.head.params_size + extra, dtype=self.dtype)
        network.build((None, self.inputs))
        return gx.distributions.Conditional(network, self.head, bijector=bijector, dtype=self.dtype)

    def points(self, rows: int) -> tf.Tensor:
        return strategies.normal((rows, self.inputs), self.dtype, self.seed + 2)


@st.composite
def _conditional_cases(draw: Any) -> ConditionalCase:
    dtype = draw(strategies.dtypes)
    if not draw(st.booleans()):
        return ConditionalCase(
            draw(heads), None, draw(st.integers(1, 3)), dtype, draw(strategies.seeds)
        )
    recipes = st.one_of(strategies.coupling_flows, strategies.formula_flows)
    recipe = draw(recipes.filter(lambda r: r.context is None or len(r.context) == 1))
    recipe = dataclasses.replace(recipe, dtype=dtype)
    head = heads_of.IndependentNormal(recipe.event_shape)
    return ConditionalCase(head, recipe, draw(st.integers(1, 3)), dtype, draw(strategies.seeds))


conditional_cases = _conditional_cases()


@dataclasses.dataclass
class ModelCase:
    """A VAE or a GAN of small networks, and its objective.

    Args:
      objective: of `gx.objectives`.
      options: what else the model takes.
      data: size of an event.
      latent: size of the noise.
      head: of a VAE's decoder, by name.
      prior: "normal", or the recipe of a flow.
      seed: of weights, data and noise.
    """

    objective: Any
    options: dict[str, Any]
    data: int
    latent: int
    head: str
    prior: str
    seed: int

    @property
    def is_vae(self) -> bool:
        return isinstance(self.objective, gx.objectives.Bound)

    def build(self) -> keras.Model:
        return strategies.moved(self._vae if self.is_vae else self._gan, self.seed, 0.1)

    def _prior(self) -> tfd.Distribution:
        if self.prior == "normal":
            return tfd.Independent(tfd.Normal(tf.zeros([self.latent]), 1.0), 1)
        recipe = getattr(gx.flows, self.prior)
        return recipe([self.latent], num_layers=1, hidden_units=[3])

    def _network(self, inputs: int, outputs: int) -> keras.layers.Layer:
        context = self.options.get("conditional_event_shape")
        if context is not None:
            made = gx.networks.MLP((outputs,), [3], conditional_event_shape=context)
            made.build((None, inputs))
            return made
        layers = [keras.layers.Dense(3, activation="tanh"), keras.layers.Dense(outputs)]
        return keras.Sequential([keras.Input([inputs]), *layers])

    def _vae(self) -> gx.models.VAE:
        posterior = heads_of.IndependentNormal([self.latent])
        likelihood = getattr(heads_of, self.head)([self.data])
        return gx.models.VAE(
            heads_of.Conditional(self._network(self.data, posterior.params_size), posterior),
            heads_of.Conditional(self._network(self.latent, likelihood.params_size), likelihood),
            prior=self._prior(),
            objective=self.objective,
            seed=self.seed,
            **self.options,
        )

    def _gan(self) -> gx.models.GAN:
        return gx.models.GAN(
            self._network(self.latent, self.data),
            self._network(self.data, 1),
            prior=self._prior(),
            objective=self.objective,
            seed=self.seed,
            **self.options,
        )

    def compiled(self) -> keras.Model:
        """Returns the model ready for `fit`, without graphs."""
        made = self.build()
        options: dict[str, Any] = {"run_eagerly": True}
        if self.is_vae:
            made.compile(optimizer=keras.optimizers.SGD(0.01), **options)
        else:
            made.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01), **options)
        return made

    def events(self, rows: int) -> np.ndarray:
        """Returns zeros and ones, which suit all."""
        rng = np.random.default_rng(self.seed)
        return rng.integers(0, 2, [rows, self.data]).astype("float32")

    def contexts(self, rows: int) -> np.ndarray | None:
        shape = self.options.get("conditional_event_shape")
        if shape is None:
            return None
        rng = np.random.default_rng(self.seed + 1)
        return rng.normal(size=[rows, *shape]).astype("float32")


_penalties = st.sampled_from(
    [None, gx.objectives.ZeroCentered(gamma=0.5), gx.objectives.OneCentered(weight=2.0)]
)
_games = st.builds(
    lambda game, penalty: game() if penalty == "own" else game(penalty=penalty),
    st.sampled_from(
        [
            gx.objectives.Minimax,
            gx.objectives.NonSaturating,
            gx.objectives.LeastSquares,
            gx.objectives.Wasserstein,
            gx.objectives.Hinge,
            gx.objectives.Relativistic,
        ]
    ),
    st.one_of(st.just("own"), _penalties),
)
_elbos = st.builds(
    gx.objectives.ELBO,
    st.integers(1, 3),
    beta=st.sampled_from([1.0, 0.0, 2.5]),
)
_importance = st.builds(
    gx.objectives.ImportanceWeighted, st.integers(2, 4), doubly_reparameterized=st.booleans()
)
_context = st.sampled_from([None, (2,), (), (1, 2)])


def _models(objectives: st.SearchStrategy, options: dict[str, Any]) -> st.SearchStrategy:
    return st.builds(
        ModelCase,
        objectives,
        st.fixed_dictionaries({"conditional_event_shape": _context, **options}),
        st.integers(1, 4),
        st.integers(1, 3),
        st.sampled_from(["IndependentBernoulli", "IndependentNormal", "IndependentPoisson"]),
        st.sampled_from(["normal", "maf"]),
        strategies.seeds,
    )


vaes = _models(
    st.one_of(_elbos, _importance),
    {"eval_samples": st.integers(1, 3), "bits_per_dim": st.booleans()},
)
gans = _models(
    _games, {"discriminator_steps": st.integers(1, 2), "ema": st.sampled_from([0.999, 0.0, 0.5])}
)
