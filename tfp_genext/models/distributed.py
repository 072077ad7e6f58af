"""Workarounds for Keras' training on several workers.

Keras up to 3.15, the newest, has two faults under `tf.distribute.MultiWorkerMirroredStrategy`: it
makes symbolic inputs of a batch by reducing rows of all replicas as if they were one tensor, and it
takes means of scalar logs along an axis that they do not have. With the first version under which
`tests/callbacks/test_backup_and_restore.py` finds Keras to train a model of its own, the two
overridden methods can go; the checks of what is made where stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from tfp_genext.core import checks, hosts


class DistributedModel(keras.Model):
    """Base class of Keras models that can train on several workers."""

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None and self._distribute_strategy is not None:
            spec = hosts.distributed_spec(iterator)
            data_batch = tf.nest.map_structure(_of_one_replica, spec)
        super()._maybe_symbolic_build(data_batch=data_batch)

    def _make_function(self, step_function: Callable) -> Callable:
        def with_an_axis(data: Any) -> Any:
            return tf.nest.map_structure(lambda log: log[tf.newaxis], step_function(data))

        self._check_steps()
        several = _has_several_workers(self.distribute_strategy)
        return super()._make_function(with_an_axis if several else step_function)

    def _check_steps(self) -> None:
        """Raises `ValueError` for options that TensorFlow lacks with several replicas."""
        if self.distribute_strategy.num_replicas_in_sync == 1 or self.run_eagerly:
            return
        for name, only in {"steps_per_execution": 1, "jit_compile": False}.items():
            if getattr(self, name) != only:
                expected = f"{only}, in `compile`, for several replicas of `tf.distribute`"
                raise ValueError(checks.message(name, expected, getattr(self, name)))

    def _check_scope(self, optimizers: Iterable[keras.optimizers.Optimizer]) -> None:
        """Raises `ValueError` if trained variables were created outside the strategy's scope."""
        strategy = self.distribute_strategy
        for name, holder in {"model": [self], "optimizer": optimizers}.items():
            variables = [v.value for part in holder for v in part.variables]
            if not all(map(strategy.extended.variable_created_in_scope, variables)):
                expected = (
                    "made under `strategy.scope()`, as the whole model and `compile` must be, with "
                    "the flows and networks in it, or all of them outside"
                )
                raise ValueError(checks.message(name, expected, type(strategy).__name__))


def _has_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether replicas run on other workers; Keras then averages logs differently."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    return strategy.num_replicas_in_sync > len(strategy.extended.worker_devices)


def _of_one_replica(spec: Any) -> tf.TensorSpec | None:
    """Returns shape and dtype of one replica's part of a batch; `None` for missing parts."""
    spec = hosts.spec_of_one_replica(spec)
    return spec if isinstance(spec, tf.TensorSpec) else None
