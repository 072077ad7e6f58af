"""Classes and functions of Keras that a file may name.

Layers are listed by name, because a layer can do anything: those that run code of other frameworks
or read files (`TFSMLayer`, `TorchModuleWrapper`, `JaxLayer`, `FlaxLayer`, `Lambda`, `StringLookup`,
`IntegerLookup`, `TextVectorization`) are not in the list. Losses, initializers and the like are
listed by their base class, and the operations of a Functional model by the modules that define
nothing but computations on tensors.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator

import keras

_LAYERS = """
Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CategoryEncoding CenterCrop
Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D
Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D
Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense
Embedding Equalization Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D
GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
GlobalMaxPooling3D GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity
InputLayer LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes MaxPooling1D
MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention Multiply
Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing ReversibleEmbedding
STFTSpectrogram SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax Solarization
SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells Subtract
TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D
ZeroPadding2D ZeroPadding3D
"""

# Functions of `keras.ops` that are activations: from a tensor to one of the same shape.
_ELEMENTWISE = """
abs absolute arccos arccosh arcsin arcsinh arctan arctanh ceil celu cos cosh elu erf erfc exp exp2
expm1 floor gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu log log1p
log_sigmoid log_softmax negative reciprocal relu relu6 round rsqrt selu sigmoid sign silu sin sinh
soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax sqrt square squareplus
stop_gradient swish tan tanh tanh_shrink threshold
"""

# Modules of classes with a common base, and the base.
_KINDS = {
    "constraints": keras.constraints.Constraint,
    "dtype_policies": keras.dtype_policies.DTypePolicy,
    "initializers": keras.initializers.Initializer,
    "losses": keras.losses.Loss,
    "metrics": keras.metrics.Metric,
    "optimizers": keras.optimizers.Optimizer,
    "optimizers.schedules": keras.optimizers.schedules.LearningRateSchedule,
    "regularizers": keras.regularizers.Regularizer,
}
_OPERATIONS = ("image", "linalg", "math", "nn", "numpy")
# The others of `keras.src.ops.core` take functions, as does `JVP`.
_CORE_OPERATIONS = "Cast ConvertToTensor SaturateCast Scatter Slice StopGradient Unstack"
_NOT_CALLED = ("deserialize", "get", "serialize")


@functools.cache
def classes() -> frozenset[str]:
    """Returns the full names, with modules, of the classes that a file may name."""
    return frozenset(_classes())


@functools.cache
def functions() -> frozenset[str]:
    """Returns the full names, with modules, of the functions that a file may name."""
    found = {f"keras.ops.{name}" for name in _ELEMENTWISE.split()}
    for module in ("activations", "losses", "metrics"):
        members = vars(importlib.import_module(f"keras.{module}")).items()
        plain = {n for n, v in members if inspect.isfunction(v) and n not in _NOT_CALLED}
        # Keras writes some of its own functions without their module.
        found |= {f"{prefix}.{n}" for n in plain for prefix in (f"keras.{module}", "builtins")}
    return frozenset(found)


def _classes() -> Iterator[str]:
    yield from ("keras.Sequential", "keras.DTypePolicy", "keras.random.SeedGenerator")
    yield "keras.src.models.functional.Functional"
    yield from (f"keras.layers.{name}" for name in _LAYERS.split())
    yield from (f"keras.src.ops.core.{name}" for name in _CORE_OPERATIONS.split())
    for module in _OPERATIONS:
        yield from _subclasses(f"keras.src.ops.{module}", keras.Operation)
    for module, base in _KINDS.items():
        yield from _subclasses(f"keras.{module}", base)


def _subclasses(module: str, base: type) -> Iterator[str]:
    for name, member in vars(importlib.import_module(module)).items():
        of_kind = inspect.isclass(member) and issubclass(member, base)
        if of_kind and member is not base and name != "JVP":
            yield f"{module}.{name}"
