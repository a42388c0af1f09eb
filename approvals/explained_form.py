"""A form whose fields say what the service expected of them."""

from typing import Protocol

from django import forms


class Explains(Protocol):
    errors: dict[str, str]


class ExplainedForm(forms.Form):
    def explain(self, error: Explains) -> None:
        """Put each text at its field; what is about none stands above all."""
        for name, text in error.errors.items():
            self.add_error(name if name in self.fields else None, text)
