"""Counts how often networks are evaluated, and steps traced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import keras

from tfp_genext.core import tracking


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


@contextlib.contextmanager
def count_steps(model: keras.Model) -> Iterator[mock.Mock]:
    """Counts how often the step of a training is traced while the context is open."""
    kind = type(model)
    step = kind.train_step
    with mock.patch.object(kind, "train_step", autospec=True, side_effect=step) as counted:
        yield counted
