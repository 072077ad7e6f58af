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

PROPERTIES = [
    Property(
        properties.flow_is_a_change_of_variables,
        drawn.flow_cases(drawn.coupling_flows),
        share=40,
        few=8,
        of="couplings",
    ),
    Property(
        properties.flow_is_a_change_of_variables,
        drawn.flow_cases(drawn.formula_flows),
        share=35,
        few=8,
        of="autoregressive",
    ),
    Property(
        properties.flow_is_a_change_of_variables,
        drawn.flow_cases(drawn.root_flows),
        share=3,
        few=2,
        of="roots",
    ),
    Property(
        properties.flow_is_a_change_of_variables,
        drawn.flow_cases(drawn.image_flows),
        share=12,
        few=3,
        of="images",
    ),
    Property(
        properties.samples_come_with_their_densities,
        drawn.flow_cases(_all_flows),
        share=30,
        few=6,
    ),
    Property(
        properties.rows_do_not_depend_on_each_other,
        drawn.flow_cases(_all_flows),
        share=20,
        few=4,
    ),
    Property(
        properties.rows_do_not_depend_on_each_other,
        drawn.flow_cases(drawn.with_context(_all_flows)),
        share=15,
        few=4,
        of="contexts",
    ),
    Property(
        properties.both_worlds_see_the_same_variables,
        drawn.flow_cases(_all_flows),
        share=22,
        few=5,
    ),
    Property(properties.files_hold_whole_flows, drawn.flow_cases(_all_flows), share=60, few=10),
    Property(
        properties.nested_bijectors_are_bijectors,
        drawn.bijector_cases(drawn.vectors, drawn.leaves),
        share=60,
        few=10,
        of="vectors",
    ),
    Property(
        properties.nested_bijectors_are_bijectors,
        drawn.bijector_cases(drawn.images, drawn.leaves),
        share=30,
        few=6,
        of="images",
    ),
    Property(
        properties.nested_bijectors_are_bijectors,
        drawn.bijector_cases(st.one_of(drawn.vectors, drawn.images), drawn.nests),
        share=40,
        few=8,
        of="nests",
    ),
    Property(
        properties.transformers_rise_and_come_back,
        drawn.transformer_cases,
        share=60,
        few=20,
    ),
    Property(properties.scalars_are_what_mathematics_says, _scalars, share=100, few=20),
    Property(properties.masks_are_those_of_the_definition, _masks, share=100, few=20),
    Property(properties.made_sees_what_comes_before, models.made_cases, share=100, few=20),
    Property(properties.made_solves_for_its_inputs, models.made_cases, share=100, few=20),
    Property(
        distributions.heads_give_distributions, models.head_cases(models.heads), share=100, few=20
    ),
    Property(
        distributions.entries_are_drawn_by_quantiles,
        models.head_cases(models.drawn_heads),
        share=80,
        few=15,
    ),
    Property(
        distributions.autoregressive_distributions_are_products,
        models.vector_distributions,
        share=18,
        few=4,
        of="vectors",
    ),
    Property(
        distributions.autoregressive_distributions_are_products,
        models.image_distributions,
        share=6,
        few=2,
        of="images",
    ),
    Property(
        distributions.images_are_seen_in_raster_order,
        models.image_distributions,
        share=20,
        few=4,
    ),
    Property(
        distributions.autoregressive_distributions_are_held_by_files,
        st.one_of(models.vector_distributions, models.image_distributions),
        share=5,
        few=2,
    ),
    Property(
        distributions.conditionals_give_distributions,
        models.conditional_cases,
        share=12,
        few=3,
    ),
    Property(distributions.noise_of_layers_keeps_to_its_pixel, _layers, share=30, few=5),
    Property(distributions.models_train_and_answer, models.vaes, share=3, few=1, of="VAEs"),
    Property(distributions.models_train_and_answer, models.gans, share=3, few=1, of="GANs"),
    Property(wrong.wrong_arguments_are_named, wrong.wrong_cases(), share=110, few=40),
    Property(wrong.wrong_events_are_refused, wrong.wrong_events(), share=12, few=5),
]
