"""LSTMs over feature maps: all positions of a line at once, line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.networks.causal_conv import halves, joined

# Of them: o, f and i, which are between 0 and 1, and g, which is between -1 and 1.
GATES = 4


class MapLSTM(keras.layers.Layer):
    """LSTM over lines: the state at a position depends on nearby states of the previous line.

        z_t(p) = x_t(p) + sum_s K_s h_(t-1)(p - s)               s in shifts; zero beyond the line
        o, f, i = sigmoid(z)[:3],   g = tanh(z)[3]
        c_t = f * c_(t-1) + i * g
        h_t = o * tanh(c_t)

    The first derivative is computed by hand, with one product for that of the kernel; there is no
    second one.

    Args:
      filters: size of a state, a multiple of `groups`.
      shifts: where a state looks: at the place itself for 0, one place before it for 1.
      groups: number of groups in which channels stand side by side. Default: 1.
      **kwargs: of any Keras layer.
    """

    def __init__(
        self, filters: int, shifts: Sequence[int], *, groups: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters = checks.positive_int("filters", filters)
        self.shifts = tuple(shifts)
        self.groups = checks.positive_int("groups", groups)

    def build(self, x_shape: tuple) -> None:
        del x_shape
        shape = (len(self.shifts), self.filters, GATES * self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")

    def call(self, x: Any) -> Any:
        """Returns the states h `[T, N, P, filters]` for the input's terms of the gates.

        Args:
          x: `[T, N, P, 4 * filters]`; each group holds its gates side by side.
        """
        return _scan(
            by_gate(x, self.groups), by_gate(self._flat(x.dtype), self.groups), self.shifts
        )

    def of_line(self, h: tf.Tensor) -> tf.Tensor:
        """Returns the recurrent terms of the next line's gates, for states `[N, P, filters]`."""
        return _product(_seen(h, self.shifts), self._flat(h.dtype))

    def of_shift(self, h: tf.Tensor, shift: int, group: int | None = None) -> tf.Tensor:
        """Returns the recurrent terms of the gates for one shift.

        Args:
          h: states `[..., filters]`.
          shift: which one of `shifts`.
          group: of which group the gates are wanted. Default: of all.
        """
        kernel = tf.cast(self.kernel, h.dtype)[self.shifts.index(shift)]
        if group is not None:
            kernel = tf.split(kernel, self.groups, axis=-1)[group]
        return tf.tensordot(h, kernel, 1)

    def along(self, x: tf.Tensor) -> tf.Tensor:
        """Runs along a line, position by position, with shift 0 only; returns `[N, P, filters]`.

        Args:
          x: what is known of the gates, `[N, P, 4 * filters]`.
        """
        kernel = tf.cast(self.kernel, x.dtype)[self.shifts.index(0)]
        lines = tf.transpose(by_gate(x, self.groups), [1, 0, 2])[:, :, tf.newaxis]
        h = _scan(lines, by_gate(kernel, self.groups), [0])
        return tf.transpose(h[:, :, 0], [1, 0, 2])

    def _flat(self, dtype: tf.DType) -> tf.Tensor:
        return tf.reshape(tf.cast(self.kernel, dtype), [-1, GATES * self.filters])


def by_gate(x: tf.Tensor, groups: int) -> tf.Tensor:
    """Reorders `[..., 4 * F]` from group by group to gate by gate."""
    if groups == 1:
        return x
    return tf.concat([joined(part) for part in halves(x, groups, GATES)], axis=-1)


def step(z: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the states h and c `[..., F]` after a step, for gates `[..., 4 * F]`."""
    moved = _moved(z, c)
    return moved.h, moved.c


class _Moved(NamedTuple):
    """Results of a step that its gradient needs."""

    h: tf.Tensor
    c: tf.Tensor
    before: tf.Tensor
    bounded: tf.Tensor
    open: tf.Tensor
    new: tf.Tensor


def _moved(z: tf.Tensor, c: tf.Tensor) -> _Moved:
    size = c.shape[-1]
    gates, new = tf.sigmoid(z[..., : 3 * size]), tf.tanh(z[..., 3 * size :])
    o, f, i = tf.split(gates, 3, axis=-1)
    after = f * c + i * new
    bounded = tf.tanh(after)
    return _Moved(o * bounded, after, c, bounded, gates, new)


def _moved_back(m: _Moved, dh: tf.Tensor, dc: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the gradients of the gates and the previous c, given those of h and c."""
    o, f, i = tf.split(m.open, 3, axis=-1)
    dc += _of_tanh(m.bounded, dh * o)
    of_gates = [_of_sigmoid(o, dh * m.bounded), _of_sigmoid(f, dc * m.before)]
    of_gates += [_of_sigmoid(i, dc * m.new), _of_tanh(m.new, dc * i)]
    return tf.concat(of_gates, axis=-1), dc * f


def _of_tanh(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """Returns dy * (1 - y**2) in one operation."""
    return tf.raw_ops.TanhGrad(y=y, dy=dy)


def _of_sigmoid(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """Returns dy * y * (1 - y) in one operation."""
    return tf.raw_ops.SigmoidGrad(y=y, dy=dy)


def _scan(x: tf.Tensor, kernel: tf.Tensor, shifts: Sequence[int]) -> tf.Tensor:
    """Returns the states h `[T, N, P, F]` for inputs of the gates `[T, N, P, 4 * F]`."""

    @tf.custom_gradient
    def run(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        lines = _forward(x, kernel, shifts)

        def gradient(dh: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dz = _backward(lines, dh, kernel, shifts)
            seen = _seen(lines.h[:-1], shifts)
            flat = [tf.reshape(t, [-1, t.shape[-1]]) for t in (seen, dz[1:])]
            return _once(dz), _once(tf.matmul(*flat, transpose_a=True))

        return lines.h, gradient

    return run(x, kernel)


def _once(gradient: tf.Tensor) -> tf.Tensor:
    """Marks the gradient as not differentiable."""
    message = "The LSTM of this package has no second derivative."
    return tf.raw_ops.PreventGradient(input=gradient, message=message)


def _forward(x: tf.Tensor, kernel: tf.Tensor, shifts: Sequence[int]) -> _Moved:
    """Returns the results of all steps, `[T, N, P, ...]`."""
    start = tf.zeros_like(x[0, ..., : x.shape[-1] // GATES])

    def one(t: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tuple[tuple, _Moved]:
        found = _moved(x[t] + _product(_seen(h, shifts), kernel), c)
        return (found.h, found.c), found

    size = start.shape[-1]
    sizes = [size, size, size, size, 3 * size, size]
    return _Moved(*_loop(one, (start, start), sizes, x, range(x.shape[0])))


def _backward(lines: _Moved, dh: tf.Tensor, kernel: tf.Tensor, shifts: Sequence[int]) -> tf.Tensor:
    """Returns the gradients of all gates, `[T, N, P, 4 * F]`, given those of h."""
    start = tf.zeros_like(dh[0])

    def one(t: tf.Tensor, later: tf.Tensor, dc: tf.Tensor) -> tuple[tuple, tuple]:
        line = _Moved(*(s[t] for s in lines))
        dz, dc = _moved_back(line, dh[t] + later, dc)
        return (_seen_back(_product(dz, tf.transpose(kernel)), shifts), dc), (dz,)

    (dz,) = _loop(one, (start, start), [kernel.shape[-1]], dh, range(dh.shape[0])[::-1])
    return dz


def _loop(
    one: Callable, state: tuple, sizes: Sequence[int], like: tf.Tensor, order: range
) -> list[tf.Tensor]:
    """Runs a step for each line and stacks the results.

    Args:
      one: from the number of a line and the state to the next state and what is kept.
      state: the first one.
      sizes: of what is kept, on the last axis.
      like: of the lines, `[T, N, P, ...]`.
      order: of the lines.
    """
    shape = like.shape[1:-1]
    kept = [tf.TensorArray(like.dtype, len(order), element_shape=[*shape, size]) for size in sizes]

    def body(n: tf.Tensor, state: tuple, kept: list) -> tuple:
        t = order.start + order.step * n
        state, found = one(t, *state)
        return n + 1, state, [array.write(t, value) for array, value in zip(kept, found)]

    *_, kept = tf.while_loop(
        lambda n, *_: n < len(order),
        body,
        (0, state, kept),
        maximum_iterations=len(order),
    )
    return [array.stack() for array in kept]


def _product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Multiplies `[..., A]` by `[A, B]` in one matrix product."""
    y = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel)
    return tf.reshape(y, [-1, *x.shape[1:-1], kernel.shape[-1]])


def _seen(h: tf.Tensor, shifts: Sequence[int]) -> tf.Tensor:
    """Concatenates the neighbours' states: `[..., P, F]` to `[..., P, S * F]`."""
    return tf.concat([_shifted(h, s) for s in shifts], axis=-1)


def _seen_back(d: tf.Tensor, shifts: Sequence[int]) -> tf.Tensor:
    """Returns the gradients of states, given those of the neighbours' concatenation."""
    return tf.add_n([_shifted(p, -s) for s, p in zip(shifts, tf.split(d, len(shifts), axis=-1))])


def _shifted(x: tf.Tensor, by: int) -> tf.Tensor:
    """Shifts `[..., P, F]` by `by` positions, with zeros at the end."""
    if by == 0:
        return x
    places = x.shape[-2]
    by = max(-places, min(by, places))
    kept = x[..., max(-by, 0) : places - max(by, 0), :]
    around = [[0, 0]] * (x.shape.rank - 2) + [[max(by, 0), max(-by, 0)], [0, 0]]
    return tf.pad(kept, around)
