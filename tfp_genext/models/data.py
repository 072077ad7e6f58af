"""Checks of the data of models: arrays, datasets and generators."""

from __future__ import annotations

import dataclasses
import functools
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks, context_shapes
from tfp_genext.models import columns as column_names

NOT_FINITE_WEIGHTS = "the weights must be finite after a step"
NOT_FINITE_GRADIENT = "the gradient must be finite"
NOT_FINITE_LOSS = "must be finite, and is not; no step was taken"
# Below this float32 has no normal numbers.
_SMALLEST_WEIGHT = float(np.finfo(np.float32).tiny)
_LARGEST_WEIGHT = float(np.finfo(np.float32).max)
EMPTY = "`x` must hold at least one batch. Received: a dataset or generator without any"

_NOT_FINITE = "must be finite, and this dataset gave NaN or infinite entries"


@dataclasses.dataclass(frozen=True)
class Data:
    """Checked data in Keras' form: events as `x`, or contexts as `x` and events as `y`."""

    x: Any
    y: Any = None
    sample_weight: Any = None

    @property
    def parts(self) -> tuple[Any, Any, Any]:
        """Events or contexts, events or `None`, weights or `None`."""
        return self.x, self.y, self.sample_weight


@dataclasses.dataclass(frozen=True)
class DataCheck:
    """Checks data against the events, and contexts, of a distribution.

    Arrays are checked whole before anything else happens. Datasets and generators are checked batch
    by batch as they are read, outside the compiled step, where XLA would drop an assertion.

    Args:
      event_shape: shape of one event.
      dtype: dtype of the events; `None` for any numbers, where a layer prepares them.
      conditional_event_shape: shape of one context event, or a structure of shapes; `None` for an
        unconditional model.
      check_values: raises where an array of events holds values that it must not. Default: none.
      assertions: returns operations that raise for a tensor of such events, faster in a dataset
        than `check_values`. Default: none.
      computed_in: dtype that events are cast to where they may be any numbers. Default: none.
      failures: errors of batches that were read inside TensorFlow.
      made_by: the part of the model whose output decides the shape of events, such as
        `"generator"`. Default: none.
    """

    event_shape: tuple[int, ...]
    dtype: tf.DType | None
    conditional_event_shape: Any
    check_values: Callable[[np.ndarray], None] | None = None
    assertions: Callable[[tf.Tensor], list[tf.Operation]] | None = None
    computed_in: tf.DType | None = None
    failures: list[Exception] = dataclasses.field(default_factory=list, compare=False)
    made_by: str | None = None

    @property
    def conditional(self) -> bool:
        """Whether data are pairs of context and event."""
        return self.conditional_event_shape is not None

    def loses_digits(self, data: Data) -> bool:
        """Returns whether casting to Keras' float type would round the events."""
        dtype = self.dtype or self.computed_in
        return (
            not is_stream(data.x)
            and dtype is not None
            and dtype.is_floating
            and dtype.size > tf.as_dtype(keras.config.floatx()).size
        )

    def training(self, x: Any, y: Any = None, sample_weight: Any = None) -> Data:
        """Checks the data of `fit` and `evaluate`."""
        if not is_stream(x):
            return self._arrays(x, y, sample_weight)
        if y is not None or sample_weight is not None:
            raise ValueError(
                "`y` and `sample_weight` must be None where `x` is a dataset that gives them."
                f" Received: x of type {type(x).__name__}"
            )
        return Data(self._stream(x))

    def prediction(self, x: Any) -> Any:
        """Checks the data of `predict`: events, or a pair of contexts and events."""
        if not self.conditional:
            return self._stream(x) if is_stream(x) else self._events(x)
        if isinstance(x, (list, tuple)) and len(x) == 2:
            return self._pair(*x)
        if is_stream(x):
            return self._stream(x)
        raise ValueError(_missing("a pair (conditional_input, x)"))

    def batch(self, x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Checks one batch by its shapes and dtypes; returns context or `None`, and events."""
        if not self.conditional:
            if y is not None:
                raise ValueError(
                    "`y` must be None: this distribution takes no `conditional_input`, or does not "
                    "say its `conditional_event_shape`. A dataset gives x, or "
                    "(x, None, sample_weight). Received: a pair"
                )
            context, events = None, x
        elif y is not None:
            context, events = x, y
        elif isinstance(x, (list, tuple)) and len(x) == 2:
            context, events = x
        else:
            raise ValueError(_missing("pairs (conditional_input, x)"))
        context = self._check_static(context, events)
        checks.weights("sample_weight", sample_weight)
        return context, events

    def _check_static(self, context: Any, events: Any) -> Any:
        self._refuse_swapped(context, events)
        self._check_event(events)
        return None if context is None else self._checked_context(context, events)

    def _checked_context(self, context: Any, events: Any) -> Any:
        context = context_shapes.checked_context(self.conditional_event_shape, context)
        for part in context_shapes.flat(self.conditional_event_shape, context):
            checks.same_rows("conditional_input", part, "x", events)
        return context

    def _check_event(self, events: Any) -> None:
        shape = _row_shape(events)
        if (
            self.made_by
            and shape is not None
            and None not in shape
            and len(shape) == len(self.event_shape)
            and shape != self.event_shape
        ):
            made, of_data = (
                f"[{', '.join(['N', *map(str, s)])}]" for s in (self.event_shape, shape)
            )
            raise ValueError(
                f"`{self.made_by}` must return what has the shape of the data, {of_data}, or `x` "
                f"must be numbers of shape {made}, as `{self.made_by}` returns. "
                f"Received: x of shape {list(events.shape)}"
            )
        checks.event("x", events, self.event_shape, self.dtype)

    def _refuse_swapped(self, context: Any, events: Any) -> None:
        given = _row_shape(context), _row_shape(events)
        wanted = self.conditional_event_shape, self.event_shape
        if given != wanted and given == wanted[::-1]:
            raise ValueError(
                "`conditional_input` must come before `x`: `fit(c, x)`, "
                "`validation_data=(c, x)`, `predict((c, x))`, datasets of pairs (c, x). "
                f"Received: shapes {[*given]} of a row, {[*wanted]} in the right order"
            )

    def _arrays(self, x: Any, y: Any, sample_weight: Any) -> Data:
        if self.conditional:
            if y is None:
                raise ValueError(_missing("two arguments, conditional_input and x"))
            x, y = self._pair(x, y)
        elif y is not None:
            raise ValueError(
                "`y` must be None: this distribution takes no `conditional_input`, or does not say "
                f"its `conditional_event_shape`. Received: y of type {type(y).__name__}"
            )
        else:
            x = self._events(x)
        if sample_weight is None:
            return Data(x, y)
        # Keras drops the weights if there is no target, so a placeholder is added.
        target = np.zeros([len(x)], np.int8) if y is None else y
        return Data(x, target, _weights(sample_weight, len(target)))

    def _pair(self, context: Any, events: Any) -> tuple[Any, Any]:
        self._refuse_swapped(context, events)
        shapes, tables, events = self.conditional_event_shape, context, self._events(events)
        context = context_shapes.mapped(lambda name, _, part: _as_array(name, part), shapes, tables)
        context = self._checked_context(context, events)
        context_shapes.mapped(_check_finite_table, shapes, tables)
        return context, events

    def _events(self, x: Any) -> Any:
        columns = column_names.names(x)
        x = _as_array("x", x)
        self._check_event(x)
        if len(x) == 0:
            raise ValueError(f"`x` must hold at least one row. Received: shape {tuple(x.shape)}")
        self._check_entries(np.asarray(x), columns)
        return x

    def _check_entries(self, x: np.ndarray, columns: Sequence[Any] | None = None) -> None:
        places = functools.partial(column_names.places, columns=columns)
        checks.finite("x", x, self.dtype, places)
        if self.check_values is not None:
            self.check_values(x)

    def _stream(self, data: Any) -> Any:
        if isinstance(data, tf.data.Dataset):
            return self._dataset(data)
        if isinstance(data, types.GeneratorType):
            return self._generator(data)
        if isinstance(data, keras.utils.PyDataset):
            return _CheckedPyDataset(self, data)
        return data

    def _dataset(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        if dataset.cardinality() == 0:
            raise ValueError(EMPTY)
        # The spec of a part that is None is not a `tf.TensorSpec`.
        spec = tf.nest.map_structure(
            lambda s: s if isinstance(s, tf.TensorSpec) else None, dataset.element_spec
        )
        self.batch(*keras.utils.unpack_x_y_sample_weight(spec))
        return dataset.map(self._asserted, num_parallel_calls=tf.data.AUTOTUNE)

    def _asserted(self, *batch: Any) -> Any:
        """Returns a batch of a dataset with checks of its values at run time."""
        context, events = self.batch(*keras.utils.unpack_x_y_sample_weight(batch))
        checked = self._finite(context, events)
        if len(batch) == 3 and batch[2] is not None:
            checked += _weight_assertions(batch[2])
        if not events.shape[1:].is_fully_defined():
            checked.append(self._shape_assertion(events))
        if self.assertions is not None:
            checked += self.assertions(events)
        elif self.check_values is not None:
            checked.append(tf.py_function(self._check_eager, [events], []))
        with tf.control_dependencies(checked):
            batch = tf.nest.map_structure(lambda t: t if t is None else tf.identity(t), batch)
        return batch if len(batch) > 1 else batch[0]

    def _finite(self, context: Any, events: tf.Tensor) -> list[tf.Operation]:
        """Returns operations that raise if an entry is not finite."""
        named = [("x", events)]
        if self.conditional:
            shapes = self.conditional_event_shape
            context_shapes.mapped(lambda name, _, part: named.append((name, part)), shapes, context)
        return [_finite_assertion(name, part) for name, part in named if _is_float_tensor(part)]

    def _shape_assertion(self, events: tf.Tensor) -> tf.Operation:
        """Returns an operation that raises if events have the wrong shape at run time."""
        expected = f"`x` must be numbers of shape (N, ...), with rows of {self.event_shape}"
        right_rank = tf.equal(tf.rank(events), 1 + len(self.event_shape))
        with tf.control_dependencies([tf.debugging.Assert(right_rank, [expected])]):
            same = tf.reduce_all(tf.equal(tf.shape(events)[1:], self.event_shape))
        return tf.debugging.Assert(same, [expected])

    def _check_eager(self, events: tf.Tensor) -> None:
        self._check_entries(events.numpy())

    def _generator(self, batches: Iterator) -> Iterator:
        first = next(batches, None)
        if first is None:
            raise ValueError(EMPTY)
        return _chained(self.checked_batch(first), map(self.checked_batch, batches))

    def checked_batch(self, batch: Any) -> Any:
        """Returns one batch of arrays after checking shapes, dtypes and values.

        Keras reads batches inside TensorFlow, which makes an error of its own of one that is raised
        there: it is kept in `failures`.
        """
        try:
            self._check_batch(batch)
        except (TypeError, ValueError) as error:
            self.failures.append(error)
            raise
        return tuple(map(_without_lists, batch)) if isinstance(batch, tuple) else (batch,)

    def _check_batch(self, batch: Any) -> None:
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        context, events = self.batch(x, y, weights)
        if self.conditional:
            context_shapes.mapped(_check_finite_table, self.conditional_event_shape, context)
        if weights is not None:
            check_weight_batch(np.asarray(weights))
        self._check_entries(np.asarray(events), column_names.names(events))


def _without_lists(part: Any) -> Any:
    """Replaces lists by tuples; `tf.data` would convert lists to tensors."""
    if isinstance(part, Mapping):
        return {key: _without_lists(value) for key, value in part.items()}
    if context_shapes.is_structure(part):
        return tuple(map(_without_lists, part))
    return part


class _CheckedPyDataset(keras.utils.PyDataset):
    """A `PyDataset` whose batches are checked as they are read."""

    def __init__(self, check: DataCheck, inner: keras.utils.PyDataset) -> None:
        super().__init__(
            workers=inner.workers,
            use_multiprocessing=inner.use_multiprocessing,
            max_queue_size=inner.max_queue_size,
        )
        self._check = check
        self._inner = inner

    def __getitem__(self, index: int) -> Any:
        batch = self._check.checked_batch(self._inner[index])
        if len(batch) == 3 and batch[1] is None:
            # Keras cannot read a PyDataset without a target, so a placeholder is added.
            batch = (batch[0], np.zeros([len(batch[2])], np.int8), batch[2])
        return batch

    @property
    def num_batches(self) -> int | None:
        return self._inner.num_batches

    def on_epoch_begin(self) -> None:
        self._inner.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._inner.on_epoch_end()


def context_shape(data: Any) -> Any:
    """Returns the shape of one context if the data declare it before they are read, else `None`."""
    if isinstance(data, tf.data.Dataset):
        data = data.element_spec
    elif isinstance(data, keras.utils.PyDataset):
        data = data[0]
    return _event_shapes(data[0]) if isinstance(data, (list, tuple)) and data else None


def _event_shapes(context: Any) -> Any:
    """Returns shapes without rows of tensors, arrays or specs, in the structure of these."""
    if isinstance(context, Mapping):
        return {key: _event_shapes(part) for key, part in context.items()}
    if context_shapes.is_structure(context):
        return type(context)(map(_event_shapes, context))
    shape = tuple(getattr(context, "shape", None) or np.shape(context))
    return shape[1:] if shape else None


def rows_of(data: Any) -> int:
    """Returns the number of rows of an array, or of a structure of arrays."""
    return len(tf.nest.flatten(data)[0]) if isinstance(data, (Mapping, list, tuple)) else len(data)


def taken(data: Any, rows: Any) -> Any:
    """Selects rows of an array or of a structure of arrays; returns `None` for `None`."""
    if isinstance(data, Mapping):
        return {key: taken(part, rows) for key, part in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(taken(part, rows) for part in data)
    return None if data is None else data[rows]


def first_batch(data: Data, batch_size: int) -> tuple[Data, tuple[Any, Any]]:
    """Returns the data and their first batch `(x, y)`; the data remain complete.

    Of an array, rows spread evenly over it: the first rows of a sorted one show too little.
    """
    if isinstance(data.x, tf.data.Dataset):
        batch = next(iter(data.x.take(1)), None)
        if batch is None:
            raise ValueError(EMPTY)
    elif isinstance(data.x, types.GeneratorType):
        batch = next(data.x)
        data = dataclasses.replace(data, x=_chained(batch, data.x))
    elif isinstance(data.x, keras.utils.PyDataset):
        batch = data.x[0]
    else:
        rows = rows_of(data.x)
        spread = np.linspace(0, rows - 1, min(rows, batch_size)).astype(int)
        x, y = (tf.nest.map_structure(np.asarray, part) for part in (data.x, data.y))
        return data, (taken(x, spread), None if data.y is None else y[spread])
    x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
    return data, (x, y)


def batches(data: Data, rows: int) -> Iterator[tuple[Any, Any, Any]]:
    """Yields batches `(x, y, sample_weight)`: `rows` rows of arrays, otherwise as given."""
    if is_stream(data.x):
        source = data.x
        if isinstance(source, keras.utils.PyDataset):
            source = (data.x[i] for i in range(data.x.num_batches))
        yield from map(keras.utils.unpack_x_y_sample_weight, source)
        return
    for first in range(0, rows_of(data.x), rows):
        x, y, weights = (taken(p, slice(first, first + rows)) for p in data.parts)
        yield x, y, weights


def _chained(first: Any, rest: Iterator) -> Iterator:
    # Keras accepts generators, but not other iterators.
    yield first
    yield from rest


def split(data: Data, fraction: float) -> tuple[Data, Data]:
    """Splits arrays into training and validation data, the last rows, as Keras does."""
    fraction = checks.number("validation_split", fraction, "in (0, 1)", lambda n: 0.0 < n < 1.0)
    if is_stream(data.x):
        raise ValueError(
            "`validation_split` must be a number in (0, 1), and goes with arrays only. "
            f"Received: validation_split={fraction!r} with x of type {type(data.x).__name__}"
        )
    rows = rows_of(data.x)
    border = int(np.floor(rows * (1.0 - fraction)))
    if border == 0 or border == rows:
        raise ValueError(
            "`validation_split` must leave at least one row on either side. "
            f"Received: validation_split={fraction!r} of {rows} rows"
        )
    first, last = (
        [taken(part, rows) for part in data.parts]
        for rows in (slice(None, border), slice(border, None))
    )
    return of_mean_one(Data(*first)), of_mean_one(Data(*last))


def batched(data: Data, batch_size: int, *, shuffle: bool) -> Data:
    """Returns arrays as a batched dataset, which Keras does not cast."""
    given = tuple(part for part in data.parts if part is not None)
    parts = tf.nest.map_structure(tf.convert_to_tensor, given)
    rows = rows_of(data.x)

    def order(_: tf.Tensor) -> tf.data.Dataset:
        # The same draw as in Keras: it depends only on its seed, if one is set.
        numbers = tf.random.shuffle(tf.range(rows)) if shuffle else tf.range(rows)
        return tf.data.Dataset.from_tensor_slices(numbers).batch(batch_size)

    dataset = tf.data.Dataset.range(1).flat_map(order)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-rows // batch_size)))

    def gathered(numbers: tf.Tensor) -> Any:
        return tf.nest.map_structure(lambda part: tf.gather(part, numbers), parts)

    if len(parts) == 1:
        return Data(dataset.map(lambda numbers: gathered(numbers)[0]))
    return Data(dataset.map(gathered))


def clear_error(error: tf.errors.InvalidArgumentError, loss_name: str) -> Exception:
    """Converts errors about non-finite values to the package's form; returns others unchanged."""
    if NOT_FINITE_WEIGHTS in str(error):
        return ValueError(
            "`optimizer` must leave the weights finite; they are spoiled. A learning rate too "
            "large may be why. Received: weights that are NaN or infinite after a step"
        )
    if NOT_FINITE_GRADIENT in str(error):
        return ValueError(
            f"`gradient` of {loss_name} {NOT_FINITE_LOSS}. Data far off, or a learning rate too "
            "large, may be why: `model.adapt(x)` brings data to unit scale. "
            "Received: a gradient that is NaN or infinite"
        )
    if NOT_FINITE_LOSS in str(error):
        return ValueError(
            f"`loss`, {loss_name}, {NOT_FINITE_LOSS}. Data outside the support of "
            "the distribution, or a learning rate too large, may be why. "
            "Received: a loss that is NaN or infinite"
        )
    if found := re.search(
        r"`(x` must hold|x` must be numbers|sample_weight` must) [^\]\n]*", str(error)
    ):
        return ValueError(f"{found[0]}. Received: others, in a dataset")
    found = re.search(rf"`([^`]+)` {_NOT_FINITE}\]? ?(?:\[columns\] \[([\d .]*))?", str(error))
    if found is None:
        return error
    where = f" in columns {', '.join(found[2].split())}" if found[2] else ""
    return ValueError(
        f"`{found[1]}` {_NOT_FINITE}. The weights are those of the last good step. "
        f"Received: NaN or infinite entries{where}"
    )


def _finite_assertion(name: str, part: tf.Tensor) -> tf.Operation:
    bad = ~tf.math.is_finite(part)
    columns = tf.where(tf.reduce_any(bad, axis=0))[:, 0] if part.shape.rank == 2 else ""
    good = ~tf.reduce_any(bad)
    return tf.debugging.Assert(good, [f"`{name}` {_NOT_FINITE}", "columns", columns], summarize=8)


def _weight_assertions(weights: tf.Tensor) -> list[tf.Operation]:
    finite = [_finite_assertion("sample_weight", weights)] if _is_float_tensor(weights) else []
    with tf.control_dependencies(finite):  # The checks below would call NaN negative.
        weights = tf.identity(weights)
    largest = tf.cast(tf.reduce_max(weights), tf.float64)
    kept = (largest <= 0.0) | ((largest >= _SMALLEST_WEIGHT) & (largest <= _LARGEST_WEIGHT))
    small = (
        f"`sample_weight` must have its largest between {_SMALLEST_WEIGHT:.3g} and "
        f"{_LARGEST_WEIGHT:.3g} in a batch, as float32 has no others"
    )
    return [
        tf.debugging.assert_non_negative(weights, "`sample_weight` must not be negative"),
        tf.debugging.assert_equal(kept, True, small),
    ]


def _is_float_tensor(value: Any) -> bool:
    return tf.is_tensor(value) and value.dtype.is_floating


def _check_finite_table(name: str, event_shape: Any, table: Any) -> None:
    del event_shape
    places = functools.partial(column_names.places, columns=column_names.names(table))
    checks.finite(name, np.asarray(table), places=places)


def _row_shape(value: Any) -> tuple | None:
    """Returns the shape of one row of a batch; `None` if it is not known."""
    shape = getattr(value, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None or not len(shape):
        return None
    return tuple(shape[1:])


def is_stream(x: Any) -> bool:
    """Returns whether data are batches of a dataset or generator rather than arrays."""
    if isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset, keras.utils.PyDataset)):
        return True
    arrays = (list, tuple, str, bytes, dict)
    return hasattr(x, "__iter__") and not hasattr(x, "__array__") and not isinstance(x, arrays)


def _as_array(name: str, value: Any) -> Any:
    if isinstance(value, (tf.RaggedTensor, tf.SparseTensor)):
        raise TypeError(f"`{name}` must be dense. Received: {type(value).__name__}")
    if isinstance(value, (tf.Variable, keras.Variable)):
        return tf.convert_to_tensor(value)
    if tf.is_tensor(value):
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"`{name}` must be an array of numbers. Received: {error}") from error
    if array.dtype.kind not in "biuf":
        where = column_names.of_text(array, column_names.names(value))
        raise TypeError(
            f"`{name}` must be an array of numbers. Received: dtype {array.dtype}{where}"
        )
    return array


def _weights(sample_weight: Any, rows: int) -> np.ndarray:
    weights = np.asarray(sample_weight)
    if weights.shape != (rows,) or weights.dtype.kind not in "biuf":
        raise ValueError(
            f"`sample_weight` must be numbers of shape [{rows}]. "
            f"Received: shape {list(weights.shape)}, dtype {weights.dtype}"
        )
    _check_weight_values(weights)
    return weights


def _check_weight_values(weights: np.ndarray) -> None:
    """Raises `ValueError` for weights that are negative, not finite, or lost in float32."""
    checks.finite("sample_weight", weights)
    if (weights < 0).any():
        raise ValueError(
            f"`sample_weight` must not be negative. Received: smallest {weights.min()}"
        )


def check_weight_batch(weights: np.ndarray) -> None:
    """Checks the weights of one batch, which are used as they are."""
    _check_weight_values(weights)
    largest: float = weights.max(initial=0.0)
    if largest > 0.0 and not _SMALLEST_WEIGHT <= largest <= _LARGEST_WEIGHT:
        raise ValueError(
            f"`sample_weight` must have its largest between {_SMALLEST_WEIGHT:.3g} and "
            f"{_LARGEST_WEIGHT:.3g} in a batch, as float32 has no others: scale weights to a mean "
            f"of 1 over all rows, as is done for arrays. Received: {largest:.3g}"
        )


def of_mean_one(data: Data) -> Data:
    """Returns arrays with their weights scaled to a mean of 1 over all rows.

    So a batch's mean of weighted losses is an unbiased share of the weighted mean over all rows,
    and weights of any magnitude survive float32.
    """
    if data.sample_weight is None or is_stream(data.x):
        return data
    weights = np.asarray(data.sample_weight, np.float64)
    largest = weights.max()
    if largest == 0.0:
        raise ValueError("`sample_weight` must not be 0 for all rows. Received: zeros only")
    weights = weights / largest
    return dataclasses.replace(data, sample_weight=weights / weights.mean())


def _missing(expected: str) -> str:
    return (
        f"`conditional_input` must be given: this distribution needs {expected}. "
        "Received: a single argument or part"
    )
