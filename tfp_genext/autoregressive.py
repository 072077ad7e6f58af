"""Recipes that build autoregressive networks and return TFP distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tfp_genext import networks
from tfp_genext.core import checks
from tfp_genext.core.public_names import module_hooks
from tfp_genext.distributions import (
    Autoregressive,
    Head,
    IndependentBernoulli,
    IndependentCategorical,
    QuantizedLogistics,
)
from tfp_genext.flows.plan import dtypes

__all__ = ["diagonal_bilstm", "made", "pixel_cnn", "row_lstm"]

__getattr__, __dir__ = module_hooks(__name__, __all__)


def made(
    event_shape: Sequence[int],
    *,
    hidden_units: Sequence[int],
    num_classes: int = 2,
    head: Head | None = None,
    num_masks: int = 1,
    mask_seed: int = 0,
    direct: bool = True,
    dropout: float = 0.0,
    kernel_regularizer: Any = None,
    order: Sequence[int] | None = None,
    activation: Any = "relu",
    conditional_event_shape: Sequence[int] | None = None,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "made",
) -> Autoregressive:
    """Returns an autoregressive distribution of vectors, computed by one MADE.

        log p(x) = sum_k log p(x_k | x_1 ... x_(k-1))         in the order of the network

    Entries are bits by default; `num_classes` or `head` change this. A density costs one evaluation
    of the network. A sample costs a few, as MADE solves its triangular system recursively. With
    several masks the distribution is a mixture of models with shared weights (Germain et al., 2015
    [1]).

    Args:
      event_shape: shape of one event. Images are flattened row by row.
      hidden_units: widths of the hidden layers of the MADE.
      num_classes: number of classes; entries are 0 to num_classes - 1. With more than 2 classes the
        network gets one-hot vectors. Default: 2, for bits.
      head: distribution of an entry given its parameters, such as
        `gx.distributions.IndependentNormal([])`, or a `gx.distributions.Mixture` of these. Default:
        classes.
      num_masks: number of masks; `DensityModel` trains them in turn. Default: 1.
      mask_seed: seed of the masks, if there are several. Default: 0.
      direct: whether to add direct connections from entries to the parameters of later entries.
        Default: `True`.
      dropout: dropout rate of hidden units in training. Default: 0.
      kernel_regularizer: Keras regularizer of the kernels, added to the training loss. Default:
        none.
      order: indices of the entries in the order of generation, with a single mask only. Default:
        first to last.
      activation: Keras activation of the MADE's hidden layers. Default: `"relu"`.
      conditional_event_shape: shape of one context event. Default: none.
      dtype: dtype of the network. Default: Keras' dtype policy.
      validate_args: whether densities assert that entries are in the support. Default: `False`.
      name: name of the distribution.

    Returns:
      A `gx.distributions.Autoregressive`. At initialisation its entries are independent.

    Raises:
      ValueError: if a size is out of range, `order` is not a permutation, or `head` has another
        event shape.
      TypeError: if a size is not an integer, or `head` is not a head.

    Example:

    ```python
    import tfp_genext as gx

    distribution = gx.autoregressive.made([6], hidden_units=[32], num_masks=4)
    assert distribution.sample(10, seed=[1, 2]).shape == [10, 6]
    ```

    #### References

    [1]: Mathieu Germain, Karol Gregor, Iain Murray, Hugo Larochelle. MADE: Masked Autoencoder for
         Distribution Estimation. 2015. https://arxiv.org/abs/1502.03509
    """
    event_shape = checks.shape_tuple("event_shape", event_shape)
    head, entry = _heads(head, num_classes)
    size = math.prod(event_shape)
    classes = entry.num_classes if isinstance(entry, IndependentCategorical) else None
    network = networks.MADE(
        size,
        entry.params_size,
        hidden_units,
        activation=activation,
        order=order,
        num_masks=num_masks,
        mask_seed=mask_seed,
        direct=direct,
        dropout=dropout,
        kernel_regularizer=kernel_regularizer,
        num_classes=classes,
        input_range=None if classes else _range(entry),
        conditional_event_shape=conditional_event_shape,
        dtype=dtypes(dtype)[0],
    )
    network.build((None, size))
    return Autoregressive(
        network, head, event_shape=event_shape, validate_args=validate_args, name=name
    )


def pixel_cnn(
    image_shape: Sequence[int],
    *,
    num_layers: int,
    filters: int,
    num_classes: int = 2,
    head: Head | None = None,
    gated: bool = True,
    kernel_size: int = 3,
    first_kernel_size: int = 7,
    conditional_event_shape: Sequence[int] | None = None,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "pixel_cnn",
) -> Autoregressive:
    """Returns an autoregressive distribution of images, computed by masked convolutions.

        log p(x) = sum_k log p(x_k | x_1 ... x_(k-1))         row by row, channels last

    A density costs one evaluation of the network. A sample computes each activation once, row by
    row and pixel by pixel, instead of one pass of the whole network for each entry (van den Oord et
    al., 2016, arXiv:1601.06759 and arXiv:1606.05328).

    Args:
      image_shape: `[H, W, C]`, height, width and channels.
      num_layers: number of layers of the network.
      filters: number of channels of the layers, a multiple of C.
      num_classes: number of classes; entries are 0 to num_classes - 1. Default: 2, for bits.
      head: distribution of an entry given its parameters, such as
        `gx.distributions.QuantizedLogistics([])` for pixels of 256 values. Default: classes.
      gated: whether the network is a `gx.networks.PixelCNN`, which has no blind spot, or a
        `gx.networks.PlainPixelCNN`. Default: `True`.
      kernel_size: size of the kernels, odd, at least 3. Default: 3.
      first_kernel_size: kernel size of the first layer, odd, at least 3. Default: 7.
      conditional_event_shape: shape of one context event, such as that of a one-hot class.
        Default: no context.
      dtype, validate_args, name: as in `gx.autoregressive.made`.

    Returns:
      A `gx.distributions.Autoregressive` with independent entries at initialisation.

    Raises:
      ValueError: if a size is out of range, or `head` has another event shape.
      TypeError: if a size is not an integer, or `head` is not a head.

    Example:

    ```python
    import tfp_genext as gx

    distribution = gx.autoregressive.pixel_cnn([6, 6, 1], num_layers=2, filters=8)
    assert distribution.sample(3, seed=[1, 2]).shape == [3, 6, 6, 1]
    ```
    """
    network = networks.PixelCNN if gated else networks.PlainPixelCNN
    return _of_images(
        network,
        image_shape,
        head,
        num_classes,
        conditional_event_shape,
        dtype,
        validate_args,
        name,
        num_layers=num_layers,
        filters=filters,
        kernel_size=kernel_size,
        first_kernel_size=first_kernel_size,
    )


def row_lstm(
    image_shape: Sequence[int],
    *,
    num_layers: int,
    filters: int,
    num_classes: int = 2,
    head: Head | None = None,
    kernel_size: int = 3,
    first_kernel_size: int = 7,
    conditional_event_shape: Sequence[int] | None = None,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "row_lstm",
) -> Autoregressive:
    """Returns an autoregressive distribution of images, computed by LSTMs over the rows.

        log p(x) = sum_k log p(x_k | x_1 ... x_(k-1))         row by row, channels last

    The network is `gx.networks.RowLSTM`, which documents the receptive field. A density costs one
    evaluation. A sample computes each activation once, as states are passed from pixel to pixel and
    from row to row (van den Oord et al., 2016, arXiv:1601.06759).

    Args:
      image_shape: `[H, W, C]`.
      num_layers: number of LSTMs.
      filters: size of the LSTM states, a multiple of C.
      kernel_size: kernel size of an LSTM's convolutions, odd. Default: 3.
      num_classes, head, first_kernel_size, conditional_event_shape, dtype, validate_args, name: as
        in `gx.autoregressive.pixel_cnn`.

    Returns:
      A `gx.distributions.Autoregressive`, as in `gx.autoregressive.pixel_cnn`.

    Raises:
      TypeError, ValueError: as in `gx.autoregressive.pixel_cnn`.

    Example:

    ```python
    import tfp_genext as gx

    distribution = gx.autoregressive.row_lstm([6, 6, 1], num_layers=2, filters=8)
    assert distribution.sample(3, seed=[1, 2]).shape == [3, 6, 6, 1]
    ```
    """
    return _of_images(
        networks.RowLSTM,
        image_shape,
        head,
        num_classes,
        conditional_event_shape,
        dtype,
        validate_args,
        name,
        num_layers=num_layers,
        filters=filters,
        kernel_size=kernel_size,
        first_kernel_size=first_kernel_size,
    )


def diagonal_bilstm(
    image_shape: Sequence[int],
    *,
    num_layers: int,
    filters: int,
    num_classes: int = 2,
    head: Head | None = None,
    first_kernel_size: int = 7,
    conditional_event_shape: Sequence[int] | None = None,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "diagonal_bilstm",
) -> Autoregressive:
    """Returns an autoregressive distribution of images, computed by LSTMs along the diagonals.

        log p(x) = sum_k log p(x_k | x_1 ... x_(k-1))         row by row, channels last

    The network is `gx.networks.DiagonalBiLSTM`, whose receptive field is all pixels before a pixel.
    Costs are as in `gx.autoregressive.row_lstm` (van den Oord et al., 2016, arXiv:1601.06759).

    Args:
      image_shape: `[H, W, C]`.
      num_layers: number of pairs of LSTMs.
      filters: size of the LSTM states, a multiple of C.
      num_classes, head, first_kernel_size, conditional_event_shape, dtype, validate_args, name: as
        in `gx.autoregressive.pixel_cnn`.

    Returns:
      A `gx.distributions.Autoregressive`, as in `gx.autoregressive.pixel_cnn`.

    Raises:
      TypeError, ValueError: as in `gx.autoregressive.pixel_cnn`.

    Example:

    ```python
    import tfp_genext as gx

    distribution = gx.autoregressive.diagonal_bilstm([6, 6, 1], num_layers=2, filters=8)
    assert distribution.sample(3, seed=[1, 2]).shape == [3, 6, 6, 1]
    ```
    """
    return _of_images(
        networks.DiagonalBiLSTM,
        image_shape,
        head,
        num_classes,
        conditional_event_shape,
        dtype,
        validate_args,
        name,
        num_layers=num_layers,
        filters=filters,
        first_kernel_size=first_kernel_size,
    )


def _of_images(
    kind: type[networks.RasterNetwork],
    image_shape: Sequence[int],
    head: Head | None,
    num_classes: int,
    conditional_event_shape: Sequence[int] | None,
    dtype: Any,
    validate_args: bool,
    name: str,
    **options: Any,
) -> Autoregressive:
    """Returns the distribution with a network of images, whose variables are built."""
    head, entry = _heads(head, num_classes)
    network = kind(
        checks.image_shape("image_shape", image_shape),
        entry.params_size,
        input_range=_range(entry),
        conditional_event_shape=conditional_event_shape,
        dtype=dtypes(dtype)[0],
        **options,
    )
    network.build((None, *network.image_shape))
    return Autoregressive(
        network, head, event_shape=network.image_shape, validate_args=validate_args, name=name
    )


def _heads(head: Head | None, num_classes: int) -> tuple[Head, Head]:
    """Returns the head, by default of classes, and the head of one entry."""
    num_classes = checks.positive_int("num_classes", num_classes, minimum=2)
    if head is None:
        bits = num_classes == 2
        head = IndependentBernoulli(()) if bits else IndependentCategorical((), num_classes)
    if not isinstance(head, Head):
        raise TypeError(checks.message("head", "a head of gx.distributions, or None", head))
    return head, head.entry()


def _range(entry: Head) -> tuple[float, float] | None:
    """Returns the smallest and the largest entry of a head, or `None` if it is unbounded."""
    if isinstance(entry, IndependentBernoulli):
        return 0.0, 1.0
    if isinstance(entry, QuantizedLogistics):
        return 0.0, entry.num_values - 1.0
    return (0.0, entry.num_classes - 1.0) if isinstance(entry, IndependentCategorical) else None
