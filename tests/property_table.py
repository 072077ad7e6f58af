"""All properties, the configurations that each is tried on, and what has failed once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import hypothesis
import properties
import properties_distributions as distributions
import properties_wrong as wrong
import strategies as drawn
import strategies_distributions as models
from hypothesis import strategies as st

from tfp_genext import distributions as heads


@dataclasses.dataclass(frozen=True)
class Property:
    """Something that holds of every configuration.

    Args:
      check: raises where it does not.
      cases: the configurations.
      share: how many of 1,000 cases of a campaign are of this property: dear ones have few.
      few: how many cases the suite tries.
      kept: configurations that failed once, always tried.
      of: what the configurations are, where a property has several sorts.
    """

    check: Callable[[Any], None]
    cases: st.SearchStrategy
    share: int
    few: int
    kept: tuple[Any, ...] = ()

    of: str = ""

    @property
    def name(self) -> str:
        return f"{self.check.__name__}[{self.of}]" if self.of else self.check.__name__


# Configurations are small, and what a failure needs is its configuration.
SETTINGS = hypothesis.settings(
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)

_all_flows = st.one_of(drawn.flows, drawn.image_flows)
_scalars = st.tuples(
    drawn.dtypes,
    st.floats(-1e6, 1e6, width=32),
    st.sampled_from([0.1, 1.0, 2.0, 5.0, 39.0]),
)
_masks = st.tuples(
    st.integers(1, 12),
    st.lists(st.integers(1, 9), max_size=3).map(tuple),
    st.integers(0, 1),
    st.integers(0, 1000),
)
_layers = st.tuples(st.integers(2, 256), st.integers(0, 1000), drawn.dtypes, st.integers(1, 4))

# Dropout computed in float32 whatever the dtype of the network.
_DROPPED = models.MadeCase(
    1,
    1,
    {
        "hidden_units": [1],
        "activation": "tanh",
        "direct": False,
        "dropout": 0.5,
        "unstacked": False,
        "conditional_event_shape": None,
        "num_classes": None,
        "num_masks": 2,
        "mask_seed": 0,
        "order": None,
        "input_range": None,
    },
    "float64",
    0,
)
# Softmax takes no more than five dimensions.
_OF_SIX_DIMENSIONS = models.AutoregressiveCase(
    "pixel_cnn",
    (2, 2, 1),
    {
        "num_classes": 3,
        "gated": False,
        "kernel_size": 3,
        "first_kernel_size": 3,
        "num_layers": 1,
        "filters": 1,
        "conditional_event_shape": (2,),
        "validate_args": False,
    },
    "float32",
    (1, 2, 1),
    0,
)
# Samples were rounded to 1, or had another density than their copies.
_ALL_BUT_CERTAIN = (
    models.HeadCase(heads.RelaxedOneHotCategorical((2,), temperature=0.5), "float32", (), 1, 10.0),
    models.HeadCase(
        heads.RelaxedOneHotCategorical((3,), temperature=0.1), "float32", (3,), 0, 10.0
    ),
    models.HeadCase(heads.RelaxedBernoulli((3,), temperature=0.1), "float32", (3,), 0, 10.0),
)
# One side of 1 took images of any size.
_ANOTHER_HEIGHT = wrong.WrongEvents(
    drawn.Recipe(
        "real_nvp_images",
        (1, 2, 1),
        "float32",
        {
            "num_levels": 1,
            "num_couplings": 1,
            "num_blocks": 1,
            "hidden_channels": 1,
            "batch_norm": False,
        },
    ),
    (2, 2, 2, 1),
)
# A convolution of other channels was left to TensorFlow.
_OTHER_CHANNELS = dataclasses.replace(_ANOTHER_HEIGHT, shape=(2, 1, 2, 2))
_A_SCALAR = wrong.WrongEvents(
    drawn.Recipe("maf", (1,), "float32", {"num_layers": 1, "hidden_units": []}), ()
)

PROPERTIES = [
    Property(
        properties.flow_is_a_change_of_variables,
        drawn.flow_cases(drawn.coupling_flows),
        share=25,
        few=6,
        of="couplings",
    ),
    Property(
        properties.flow_is_a_change_of_variables,
        drawn.flow_cases(drawn.formula_flows),
        share=20,
        few=5,
        of="autoregressive",
    ),
    Property(
        properties.flow_is_a_change_of_variables,
        drawn.flow_cases(drawn.root_flows),
        share=2,
        few=2,
        of="roots",
    ),
    Property(
        properties.flow_is_a_change_of_variables,
        drawn.flow_cases(drawn.image_flows),
        share=6,
        few=3,
        of="images",
    ),
    Property(
        properties.samples_come_with_their_densities,
        drawn.flow_cases(_all_flows),
        share=20,
        few=5,
    ),
    Property(
        properties.rows_do_not_depend_on_each_other,
        drawn.flow_cases(_all_flows),
        share=12,
        few=4,
    ),
    Property(
        properties.rows_do_not_depend_on_each_other,
        drawn.flow_cases(drawn.with_context(_all_flows)),
        share=10,
        few=3,
        of="contexts",
    ),
    Property(
        properties.both_worlds_see_the_same_variables,
        drawn.flow_cases(_all_flows),
        share=15,
        few=4,
    ),
    Property(properties.graphs_give_the_same, drawn.flow_cases(_all_flows), share=2, few=1),
    Property(properties.files_hold_whole_flows, drawn.flow_cases(_all_flows), share=5, few=2),
    Property(
        properties.nested_bijectors_are_bijectors,
        drawn.bijector_cases(drawn.vectors, drawn.leaves),
        share=50,
        few=8,
        of="vectors",
    ),
    Property(
        properties.nested_bijectors_are_bijectors,
        drawn.bijector_cases(drawn.images, drawn.leaves),
        share=12,
        few=4,
        of="images",
    ),
    Property(
        properties.nested_bijectors_are_bijectors,
        drawn.bijector_cases(st.one_of(drawn.vectors, drawn.images), drawn.nests),
        share=20,
        few=5,
        of="nests",
    ),
    Property(
        properties.transformers_rise_and_come_back,
        drawn.transformer_cases,
        share=60,
        few=12,
    ),
    Property(properties.scalars_are_what_mathematics_says, _scalars, share=150, few=20),
    Property(properties.masks_are_those_of_the_definition, _masks, share=110, few=20),
    Property(
        properties.made_sees_what_comes_before, models.made_cases, share=60, few=6, kept=(_DROPPED,)
    ),
    Property(properties.made_solves_for_its_inputs, models.made_cases, share=20, few=3),
    Property(
        distributions.heads_give_distributions,
        models.head_cases(models.heads),
        share=110,
        few=15,
        kept=_ALL_BUT_CERTAIN,
    ),
    Property(
        distributions.entries_are_drawn_by_quantiles,
        models.head_cases(models.drawn_heads),
        share=100,
        few=15,
    ),
    Property(
        distributions.autoregressive_distributions_are_products,
        models.vector_distributions,
        share=10,
        few=3,
        of="vectors",
    ),
    Property(
        distributions.autoregressive_distributions_are_products,
        models.image_distributions,
        share=4,
        few=2,
        of="images",
        kept=(_OF_SIX_DIMENSIONS,),
    ),
    Property(
        distributions.images_are_seen_in_raster_order,
        models.image_distributions,
        share=15,
        few=4,
    ),
    Property(
        distributions.autoregressive_distributions_are_held_by_files,
        st.one_of(models.vector_distributions, models.image_distributions),
        share=3,
        few=2,
    ),
    Property(
        distributions.conditionals_give_distributions,
        models.conditional_cases,
        share=6,
        few=3,
    ),
    Property(distributions.noise_of_layers_keeps_to_its_pixel, _layers, share=30, few=5),
    Property(distributions.models_train_and_answer, models.vaes, share=3, few=1, of="VAEs"),
    Property(distributions.models_train_and_answer, models.gans, share=3, few=1, of="GANs"),
    Property(wrong.wrong_arguments_are_named, wrong.wrong_cases(), share=150, few=40),
    Property(
        wrong.wrong_events_are_refused,
        wrong.wrong_events(),
        share=20,
        few=5,
        kept=(_ANOTHER_HEIGHT, _OTHER_CHANNELS, _A_SCALAR),
    ),
]
