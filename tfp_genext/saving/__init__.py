"""TFP objects as plain data, so that a `.keras` file can hold a whole model.

A distribution becomes the name of its public class and the arguments it was made with; so does
every bijector in it. Constants become typed arrays, to the bit. What has an identity, a variable, a
Keras layer, a distribution or a bijector that stands in two places, is written once and referred to
by number, so that what was shared is shared again. Variables stand here with their values, from
which some of TFP's classes compute when they are made; those of Keras layers are in the weights.

Reading runs nothing that the file names: classes come from a closed list, TFP's public
distributions and bijectors and ours; Keras layers from Keras, in its own safe mode; functions are
refused on the way in. What a file makes is counted, while Keras reads it, against what it weighs,
and its weights are looked through before Keras reads them.
"""

from tfp_genext.core.public_names import face
from tfp_genext.saving.archive import check_weights
from tfp_genext.saving.files import replacing, replacing_directory
from tfp_genext.saving.guard import reading, require_registered, size_limit
from tfp_genext.saving.keras_layers import refuse_lambdas
from tfp_genext.saving.listed import holdable
from tfp_genext.saving.plain import PlainData
from tfp_genext.saving.reader import decode
from tfp_genext.saving.vetted import keras_config as vet
from tfp_genext.saving.writer import encode

__all__ = [
    "PlainData",
    "check_weights",
    "decode",
    "encode",
    "holdable",
    "reading",
    "refuse_lambdas",
    "replacing",
    "replacing_directory",
    "require_registered",
    "size_limit",
    "vet",
]

__getattr__, __dir__ = face(__name__, __all__)
