"""Wrong configurations: every argument of the public face, given what it cannot take.

What is refused is refused by a `ValueError` or `TypeError` that names the argument and holds
"Received". Nothing wrong is taken in silence, and nothing else is raised.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import strategies as drawn
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import strategies as st

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions
heads = gx.distributions
nan, inf = float("nan"), float("inf")

# Kinds of arguments, and what none of them may be. What goes beside an argument of some kind is
# added where it is listed.
_NO_INT = [1.5, "2", None, nan, inf, [2], (1, 2), {}, True, np.bool_(True), 2j, b"2", np.float32(2)]
_NO_NUMBER = ["1", None, [1.0], True, 1j, {}, nan, b"1"]
WRONG = {
    "positive": [*_NO_INT, 0, -1, -(2**70)],
    "optional_positive": [v for v in [*_NO_INT, 0, -1] if v is not None],
    "natural": [*_NO_INT, -1],
    "two": [*_NO_INT, 0, 1, -3],
    "odd": [*_NO_INT, 0, -1, 2, 4],
    "widths": [3, "34", None, [0], [2, -1], [1.5], [True], ["a"], [None], [[2]], b"ab", nan, [nan]],
    "shape": ["23", None, [0], [-1, 2], [1.5], [True], ["a"], [None], 2.5, b"ab", [2, nan], {2.5}],
    "optional_shape": ["23", [0], [-1], [1.5], [True], ["a"], [None], 2.5, [[1]], nan],
    "vector": [[2, 2], [], [2, 2, 1], [0], [-1], [True], [2.0], "2", None, 0, -1, 2.5],
    "image": [[4, 4], [4], [], [4, 4, 1, 1], [4, 4, 0], [4, -4, 1], "441", None, 4, [4.0, 4, 1]],
    "positive_number": [*_NO_NUMBER, 0.0, -1.0, inf, -inf],
    "natural_number": [*_NO_NUMBER, -1.0, inf, -inf],
    "share": [*_NO_NUMBER, 1.0, -0.1, 2, inf],
    "bound": [*_NO_NUMBER, 0.0, -2.0, inf, 40.0],
    "tolerance": [*_NO_NUMBER, -1e-3, inf, -inf],
    "dtype": ["int32", "float33", int, 3.5, "bool", tf.int64, object(), "complex64", [1]],
    "transformer": ["affine", 3, gx.transformers.Affine, tf.exp, [1], tfb.Exp(), True],
    "head": ["normal", 3, heads.IndependentNormal, tfd.Normal(0.0, 1.0), [1], True],
    "permutation": [
        "reversed",
        3,
        [2, 1, 0],
        True,
        lambda d, s: [0] * d,
        lambda d, s: range(d + 1),
    ],
    "order": [[0, 0, 1], [0, 1], [1, 2, 3], "012", 3, [0.0, 1.0, 2.0], [0, 1, -1], [[0, 1, 2]]],
    "base": ["normal", 3, tfd.Normal(0.0, 1.0), tfb.Exp(), [1], tfd.MultivariateNormalDiag([0.0])],
    "data_bijector": [256, "pixels", tf.exp, [tfb.Exp()], gx.flows.pixels, True],
    "range": [
        (1.0, 0.0),
        (0.0, 0.0),
        (nan, 1.0),
        (0.0, inf),
        (1.0,),
        3,
        "ab",
        ("a", "b"),
        (0, 1, 2),
    ],
    "activation": ["no_such_activation", 3.5, [1], 3],
    "bijector": ["exp", 3, tf.exp, [tfb.Exp()], tfd.Normal(0.0, 1.0), True, None],
    "bijectors": ["exp", 3, [tf.exp], tfb.Exp(), [None], [[3]], True, None],
    "layer": ["dense", 3, tf.exp, tfb.Exp(), None, [1]],
    "num_masked": ["a", 1.5, nan, inf, [1], (1, 1), {}, True, 1j],
    "fraction_masked": ["a", 1.0, -1.0, 2.5, nan, inf, [0.5], True, 1, 1j],
    "mask": [[1, 0, 1], [True] * 3, [False] * 3, "abc", True, [[True, False]], [0.5], [None], {}],
    "event_ndims": [0, -1, 1.5, "1", None, [1], True, nan],
    "scale_map": ["exp", 3, gx.transformers.ExpScale, tf.exp, [1]],
    "signs": [[1.0, 0.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0], "abc", 3, [nan, 1.0, 1.0], [None] * 3],
    "matrix": [tf.zeros([3, 3]), np.zeros([3, 3]), None, "a", tf.Variable(tf.zeros([2, 3]))],
    "vector_variable": [tf.zeros([3]), [0.0] * 3, None, "a", tf.Variable(0.0), 3],
    "seeded": ["a", 1.5, -1, [1], nan, True, {}],
    "context": [np.zeros([5, 3], "float32"), np.zeros([], "float32"), "ab", [nan, nan], [1.0, inf]],
    "objective": ["elbo", 3, tf.exp, gx.objectives.ELBO, [1], True],
    "scale": [*_NO_NUMBER, 0.0, -1.0, inf],
}


@dataclasses.dataclass(frozen=True)
class Target:
    """Something that is called with keyword arguments.

    Args:
      call: what.
      valid: arguments that it takes.
      kinds: of the arguments that may be wrong.
    """

    call: Callable[..., Any]
    valid: dict[str, Any]
    kinds: dict[str, str]


_VECTORS = {"event_shape": [3], "num_layers": 3, "hidden_units": [2]}
_VECTOR_KINDS = {
    "event_shape": "vector",
    "num_layers": "positive",
    "hidden_units": "widths",
    "activation": "activation",
    "permutation": "permutation",
    "base": "base",
    "conditional_event_shape": "optional_shape",
    "dtype": "dtype",
}
_IMAGES = {"image_shape": [4, 4, 1], "num_levels": 1, "hidden_channels": 2}
_IMAGE_KINDS = {
    "image_shape": "image",
    "num_levels": "positive",
    "hidden_channels": "of_levels",
    "transformer": "transformer",
    "activation": "activation",
    "data_bijector": "data_bijector",
    "conditional_event_shape": "optional_shape",
    "dtype": "dtype",
}
_PIXELS = {"image_shape": [2, 2, 1], "num_layers": 1, "filters": 2}
_PIXEL_KINDS = {
    "image_shape": "image",
    "num_layers": "positive",
    "filters": "positive",
    "num_classes": "two",
    "head": "head",
    "first_kernel_size": "odd",
    "conditional_event_shape": "optional_shape",
    "dtype": "dtype",
}
_FLOW_OF_CONTEXT = functools.partial(
    gx.flows.real_nvp, [3], num_layers=1, hidden_units=[], conditional_event_shape=[2]
)


def _with(kinds: dict[str, str], **more: str) -> dict[str, str]:
    return {**kinds, **more}


def _coupling(**options: Any) -> Any:
    """A coupling, called with an event of three entries."""
    given = {"num_masked", "fraction_masked", "mask"} & options.keys()
    masking = {} if given else {"num_masked": 1}
    network = keras.layers.Dense(2 if "event_ndims" not in options else 1)
    made = gx.bijectors.AdditiveCoupling(conditioner=network, **{**masking, **options})
    return made.forward(tf.zeros([2, 3]))


def _condition(conditional_input: Any) -> Any:
    return gx.flows.condition(_FLOW_OF_CONTEXT(), conditional_input)


def _mixing(**options: Any) -> Any:
    valid = {
        "lower_upper": tf.Variable(tf.eye(3)),
        "log_scale": tf.Variable(tf.zeros([3])),
        "sign": [1.0, -1.0, 1.0],
        "permutation": [0, 1, 2],
    }
    return gx.bijectors.Invertible1x1Conv(**{**valid, **options})


def _norm(**options: Any) -> Any:
    valid = {"shift": tf.Variable(tf.zeros([3])), "log_scale": tf.Variable(tf.zeros([3]))}
    return gx.bijectors.ActNorm(**{**valid, **options})


def _vae(**options: Any) -> Any:
    normal = heads.IndependentNormal([2])
    parts = {
        "encoder": heads.Conditional(keras.layers.Dense(4), normal),
        "decoder": heads.Conditional(keras.layers.Dense(4), normal),
        "prior": tfd.Independent(tfd.Normal(tf.zeros([2]), 1.0), 1),
    }
    return gx.models.VAE(**{**parts, **options})


def _gan(**options: Any) -> Any:
    parts = {
        "generator": keras.layers.Dense(2),
        "discriminator": keras.layers.Dense(1),
        "prior": tfd.Independent(tfd.Normal(tf.zeros([2]), 1.0), 1),
    }
    return gx.models.GAN(**{**parts, **options})


def _sampled(**options: Any) -> Any:
    model = gx.models.DensityModel(gx.flows.real_nvp([2], num_layers=1, hidden_units=[]))
    return model.sample(**options)


def _completed(num_observed: Any) -> Any:
    made = gx.autoregressive.made([2], hidden_units=[2])
    return made.complete(np.zeros([2]), num_observed)


TARGETS = {
    "flows.real_nvp": Target(
        gx.flows.real_nvp, _VECTORS, _with(_VECTOR_KINDS, transformer="transformer")
    ),
    "flows.nice": Target(gx.flows.nice, _VECTORS, _with(_VECTOR_KINDS, event_shape="shape")),
    "flows.maf": Target(
        gx.flows.maf,
        _VECTORS,
        _with(
            _VECTOR_KINDS,
            transformer="transformer",
            tolerance="tolerance",
            num_components="optional_positive",
        ),
    ),
    "flows.iaf": Target(
        gx.flows.iaf,
        _VECTORS,
        _with(_VECTOR_KINDS, transformer="transformer", tolerance="tolerance"),
    ),
    "flows.nsf": Target(
        gx.flows.nsf,
        _VECTORS,
        _with(_VECTOR_KINDS, num_bins="positive", bound="positive_number", tolerance="tolerance"),
    ),
    "flows.naf": Target(
        gx.flows.naf,
        _VECTORS,
        _with(_VECTOR_KINDS, transformer="transformer", tolerance="tolerance"),
    ),
    "flows.glow": Target(
        gx.flows.glow,
        {**_IMAGES, "num_steps": 1},
        _with(_IMAGE_KINDS, num_steps="of_levels", seed="natural"),
    ),
    "flows.real_nvp_images": Target(
        gx.flows.real_nvp_images,
        _IMAGES,
        _with(_IMAGE_KINDS, num_couplings="positive", num_blocks="positive"),
    ),
    "flows.pixels": Target(
        gx.flows.pixels, {}, {"num_values": "two", "alpha": "share_half", "dtype": "dtype"}
    ),
    "flows.condition": Target(_condition, {}, {"conditional_input": "context"}),
    "autoregressive.made": Target(
        gx.autoregressive.made,
        {"event_shape": [3], "hidden_units": [2]},
        {
            "event_shape": "shape",
            "hidden_units": "widths",
            "num_classes": "two",
            "head": "head",
            "num_masks": "positive",
            "mask_seed": "natural",
            "dropout": "share",
            "order": "order",
            "activation": "activation",
            "conditional_event_shape": "optional_shape",
            "dtype": "dtype",
        },
    ),
    "autoregressive.pixel_cnn": Target(
        gx.autoregressive.pixel_cnn, _PIXELS, _with(_PIXEL_KINDS, kernel_size="odd")
    ),
    "autoregressive.row_lstm": Target(
        gx.autoregressive.row_lstm, _PIXELS, _with(_PIXEL_KINDS, kernel_size="odd")
    ),
    "autoregressive.diagonal_bilstm": Target(
        gx.autoregressive.diagonal_bilstm, _PIXELS, _PIXEL_KINDS
    ),
    "autoregressive.complete": Target(_completed, {}, {"num_observed": "natural"}),
    "networks.MLP": Target(
        gx.networks.MLP,
        {"params_shape": [3, 2], "hidden_units": [2]},
        {
            "params_shape": "shape",
            "hidden_units": "widths",
            "activation": "activation",
            "conditional_event_shape": "optional_shape",
        },
    ),
    "networks.MADE": Target(
        gx.networks.MADE,
        {"event_size": 3, "params_size": 2, "hidden_units": [2]},
        {
            "event_size": "positive",
            "params_size": "positive",
            "hidden_units": "widths",
            "activation": "activation",
            "order": "order",
            "num_masks": "positive",
            "mask_seed": "natural",
            "dropout": "share",
            "num_classes": "optional_positive",
            "input_range": "range",
            "conditional_event_shape": "optional_shape",
        },
    ),
    "networks.ConvNet": Target(
        gx.networks.ConvNet,
        {"params_shape": [1, 2], "hidden_channels": 2},
        {
            "params_shape": "shape",
            "hidden_channels": "optional_positive",
            "num_blocks": "natural",
            "activation": "activation",
            "conditional_event_shape": "optional_shape",
        },
    ),
    "networks.WeightNormConv": Target(
        gx.networks.WeightNormConv, {"filters": 2}, {"filters": "positive", "kernel_size": "odd"}
    ),
    "networks.MovingMoments": Target(gx.networks.MovingMoments, {}, {"momentum": "share"}),
    "transformers.Spline": Target(
        gx.transformers.Spline, {}, {"num_bins": "positive", "bound": "positive_number"}
    ),
    "transformers.DeepSigmoidal": Target(
        gx.transformers.DeepSigmoidal, {}, {"num_units": "positive"}
    ),
    "transformers.DeepDenseSigmoidal": Target(
        gx.transformers.DeepDenseSigmoidal,
        {},
        {"num_units": "positive", "num_layers": "positive"},
    ),
    "transformers.MixtureOfGaussians": Target(
        gx.transformers.MixtureOfGaussians, {}, {"num_components": "positive"}
    ),
    "transformers.Affine": Target(gx.transformers.Affine, {}, {"scale_map": "scale_map"}),
    "transformers.ExpScale": Target(gx.transformers.ExpScale, {}, {"bound": "bound"}),
    "transformers.PlainScale": Target(gx.transformers.PlainScale, {}, {"bound": "bound"}),
    "bijectors.AdditiveCoupling": Target(
        _coupling,
        {},
        {
            "num_masked": "num_masked",
            "fraction_masked": "fraction_masked",
            "mask": "mask",
            "event_ndims": "event_ndims",
        },
    ),
    "bijectors.Invertible1x1Conv": Target(
        _mixing,
        {},
        {
            "sign": "signs",
            "permutation": "order",
            "lower_upper": "matrix",
            "log_scale": "vector_variable",
        },
    ),
    "bijectors.Invertible1x1Conv.random": Target(
        gx.bijectors.Invertible1x1Conv.random,
        {"num_channels": 3, "seed": 0},
        {"num_channels": "positive", "seed": "natural", "dtype": "dtype"},
    ),
    "bijectors.ActNorm": Target(
        _norm, {}, {"shift": "vector_variable", "log_scale": "vector_variable"}
    ),
    "bijectors.Permute": Target(gx.bijectors.Permute, {}, {"permutation": "some_order"}),
    "bijectors.Squeeze": Target(gx.bijectors.Squeeze, {}, {"block_size": "two"}),
    "bijectors.Partial": Target(
        gx.bijectors.Partial,
        {"bijector": tfb.Exp(), "num_channels": 1},
        {"bijector": "bijector", "num_channels": "positive"},
    ),
    "bijectors.Compose": Target(gx.bijectors.Compose, {}, {"bijectors": "bijectors"}),
    "bijectors.Conditioned": Target(
        gx.bijectors.Conditioned,
        {"conditional_input": np.zeros([2], "float32")},
        {"bijector": "bijector"},
    ),
    "distributions.IndependentNormal": Target(
        heads.IndependentNormal, {"event_shape": [2]}, {"event_shape": "shape", "bound": "scale"}
    ),
    "distributions.IndependentPoisson": Target(
        heads.IndependentPoisson, {"event_shape": [2]}, {"event_shape": "shape", "bound": "scale"}
    ),
    "distributions.RelaxedBernoulli": Target(
        heads.RelaxedBernoulli,
        {"event_shape": [2]},
        {"event_shape": "shape", "temperature": "scale"},
    ),
    "distributions.IndependentCategorical": Target(
        heads.IndependentCategorical,
        {"event_shape": [2], "num_classes": 3},
        {"event_shape": "shape", "num_classes": "two"},
    ),
    "distributions.QuantizedLogistics": Target(
        heads.QuantizedLogistics,
        {"event_shape": [2]},
        {"event_shape": "shape", "num_components": "positive", "num_values": "two"},
    ),
    "distributions.IndependentOneHotCategorical": Target(
        heads.IndependentOneHotCategorical, {}, {"event_shape": "shape"}
    ),
    "distributions.MultivariateNormalTriL": Target(
        heads.MultivariateNormalTriL, {}, {"event_size": "positive"}
    ),
    "distributions.Mixture": Target(
        heads.Mixture,
        {"num_components": 2, "component": heads.IndependentNormal([2])},
        {"num_components": "positive", "component": "head"},
    ),
    "distributions.Conditional": Target(
        heads.Conditional,
        {"network": keras.layers.Dense(4), "head": heads.IndependentNormal([2])},
        {"network": "layer", "head": "head"},
    ),
    "objectives.ELBO": Target(
        gx.objectives.ELBO,
        {},
        {"num_samples": "positive", "beta": "natural_number", "free_bits": "natural_number"},
    ),
    "objectives.ImportanceWeighted": Target(
        gx.objectives.ImportanceWeighted, {}, {"num_samples": "positive"}
    ),
    "objectives.ZeroCentered": Target(gx.objectives.ZeroCentered, {}, {"gamma": "scale"}),
    "objectives.OneCentered": Target(gx.objectives.OneCentered, {}, {"weight": "scale"}),
    "layers.Dequantize": Target(gx.layers.Dequantize, {}, {"num_values": "two", "seed": "seeded"}),
    "layers.Binarize": Target(gx.layers.Binarize, {}, {"scale": "scale", "seed": "seeded"}),
    "models.VAE": Target(
        _vae,
        {},
        {
            "objective": "objective",
            "eval_samples": "positive",
            "conditional_event_shape": "optional_shape",
            "seed": "seeded",
        },
    ),
    "models.GAN": Target(
        _gan,
        {},
        {
            "discriminator_steps": "positive",
            "ema": "share",
            "likelihood_weight": "natural_number",
            "objective": "objective",
            "conditional_event_shape": "optional_shape",
            "seed": "seeded",
        },
    ),
    "models.DensityModel.sample": Target(_sampled, {"n": 2}, {"n": "positive", "seed": "seed"}),
    "masks.checkerboard": Target(
        gx.masks.checkerboard,
        {"height": 2, "width": 2},
        {"height": "positive", "width": "positive"},
    ),
    "masks.prefix_mask": Target(
        gx.masks.prefix_mask,
        {"size": 3, "num_masked": 1},
        {"size": "positive", "num_masked": "num_masked"},
    ),
    "masks.autoregressive_degrees": Target(
        gx.masks.autoregressive_degrees,
        {"size": 3, "hidden_units": [2]},
        {"size": "positive", "hidden_units": "widths"},
    ),
    "masks.random_degrees": Target(
        gx.masks.random_degrees,
        {"size": 3, "hidden_units": [2], "seed": [1]},
        {"size": "positive", "hidden_units": "widths"},
    ),
    "masks.random_order": Target(gx.masks.random_order, {}, {"seed": "natural"}),
    "numerics.bits_per_dim": Target(
        gx.numerics.bits_per_dim, {"nll": 1.0}, {"event_shape": "shape"}
    ),
}
WRONG["of_levels"] = [*(v for v in _NO_INT if v != [2]), 0, -1, [], [1, 0], [1.5], [True], [3, 4]]
WRONG["seed"] = [v for v in WRONG["seeded"] if v != -1]
WRONG["share_half"] = [v for v in [*_NO_NUMBER, 0.0, 0.5, 1.0, -0.1, inf] if v is not None]
WRONG["some_order"] = [
    [0, 0, 1],
    [1, 2],
    [0.0, 1.0],
    "ab",
    1,
    [[0, 1]],
    None,
    [True, False],
    [-1, 0],
]


@dataclasses.dataclass
class WrongCase:
    """One argument of one target, and a value that it cannot take, by number."""

    target: str
    argument: str
    number: int

    @property
    def value(self) -> Any:
        return WRONG[TARGETS[self.target].kinds[self.argument]][self.number]

    def __repr__(self) -> str:
        own = f"WrongCase({self.target!r}, {self.argument!r}, {self.number})"
        return f"{own}  # {self.value!r}"


@st.composite
def wrong_cases(draw: Any) -> WrongCase:
    """Draws an argument and a wrong value."""
    name = draw(st.sampled_from(sorted(TARGETS)))
    kinds = TARGETS[name].kinds
    argument = draw(st.sampled_from(sorted(kinds)))
    return WrongCase(name, argument, draw(st.integers(0, len(WRONG[kinds[argument]]) - 1)))


def every_wrong_case() -> list[WrongCase]:
    """Returns all of them."""
    return [
        WrongCase(name, argument, number)
        for name, target in TARGETS.items()
        for argument, kind in target.kinds.items()
        for number in range(len(WRONG[kind]))
    ]


# Where arguments go to another one that has the name in messages.
_NAMED = {
    "distributions.Mixture": {"component": "component"},
    "models.DensityModel.sample": {"n": "n"},
}


def wrong_arguments_are_named(case: WrongCase) -> None:
    """Nothing wrong is taken, and what is refused is named."""
    target = TARGETS[case.target]
    try:
        found = target.call(**{**target.valid, case.argument: case.value})
    except (ValueError, TypeError) as error:
        message = str(error)
        assert "Received" in message, f"{type(error).__name__}: {message}"
        assert f"`{case.argument}" in message or f" `{case.argument}" in message, message
    else:
        raise AssertionError(f"taken: {found!r}")


# Events of the wrong shape.


@dataclasses.dataclass
class WrongEvents:
    """A flow, and events that are not its own."""

    recipe: drawn.Recipe
    shape: tuple[int, ...]


@st.composite
def wrong_events(draw: Any) -> WrongEvents:
    """Draws events of another size, or of a rank below."""
    recipe = draw(st.one_of(drawn.flows, drawn.image_flows))
    event = list(recipe.event_shape)
    how = draw(st.sampled_from(["more", "less", "rank"]))
    if how == "rank":
        return WrongEvents(recipe, tuple(event[1:]))
    axis = draw(st.integers(0, len(event) - 1))
    event[axis] += 1 if how == "more" or event[axis] == 1 else -1
    return WrongEvents(recipe, (2, *event))


def wrong_events_are_refused(case: WrongEvents) -> None:
    """Events of another shape raise in either direction, whatever the flow."""
    flow = case.recipe.build()
    x = tf.zeros(case.shape, case.recipe.dtype)
    kwargs = {}
    if case.recipe.context is not None:
        context = tf.zeros([2, *case.recipe.context], case.recipe.dtype)
        kwargs = gx.flows.bijector_kwargs(flow, context)
    try:
        with drawn.without_graphs():
            found = flow.log_prob(x, **kwargs)
    except (ValueError, TypeError) as error:
        # The last is what `tfb.Reshape`, with which images are flattened, says.
        assert any(part in str(error) for part in ("Received", "`event_shape_")), str(error)
    else:
        raise AssertionError(f"taken: {found}")
