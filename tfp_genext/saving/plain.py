"""Frozen dataclasses that Keras can serialise."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import keras


class PlainData:
    """Mixin that serialises a frozen dataclass by its fields."""

    def get_config(self) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(self) if field.init]  # type: ignore
        fields = {name: getattr(self, name) for name in names}
        return {
            name: keras.saving.serialize_keras_object(value)
            if hasattr(value, "get_config")
            else value
            for name, value in fields.items()
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})
