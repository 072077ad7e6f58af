"""Counts how often networks are evaluated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from tfp_genext import tracking


class Counter:
    """Number of network evaluations, traced or eager."""

    total = 0


@contextlib.contextmanager
def count_network_calls() -> Iterator[Counter]:
    """Counts the calls that go through the joint while the context is open."""
    counter = Counter()
    with contextlib.ExitStack() as stack:
        for name in ("__call__", "solve"):
            original = getattr(tracking.KerasNetwork, name)

            def counted(self, *args, original=original, **kwargs):
                counter.total += 1
                return original(self, *args, **kwargs)

            stack.enter_context(mock.patch.object(tracking.KerasNetwork, name, counted))
        yield counter
