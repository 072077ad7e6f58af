"""Properties on a few dozen configurations each; `campaigns/properties.py` tries thousands."""

from __future__ import annotations

import hypothesis
import property_table
import pytest


@pytest.mark.parametrize("case", property_table.PROPERTIES, ids=lambda case: case.name)
def test_holds_of_drawn_configurations(case):
    @hypothesis.settings(property_table.SETTINGS, max_examples=case.few, derandomize=True)
    @hypothesis.given(case.cases)
    def holds(configuration):
        case.check(configuration)

    for kept in case.kept:
        case.check(kept)
    holds()
