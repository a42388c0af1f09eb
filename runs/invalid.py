"""What a person or a program gave, and cannot be used."""

from collections.abc import Mapping


class FieldsInvalid(Exception):
    """``errors`` maps each field to what was expected of it."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)
