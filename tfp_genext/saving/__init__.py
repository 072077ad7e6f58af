"""Saving and loading of models.

A distribution is saved as the name of its public class and the arguments it was made with, and so
is every bijector in it. Constants are saved as typed arrays, to the bit. Variables, Keras layers
and objects that stand in two places are written once and referred to by number, so that what was
shared is shared again. `keras.Model.save` of our models writes it all to a `.keras` file.

`load_model` loads files that need not be trusted. `keras.saving.load_model` loads the same files,
and runs nothing that they name either, but without limits of size.
"""

from tfp_genext.core.public_names import module_hooks
from tfp_genext.saving.classes import register
from tfp_genext.saving.load import load_model

__all__ = ["load_model", "register"]

__getattr__, __dir__ = module_hooks(__name__, __all__)
