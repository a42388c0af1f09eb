"""A form whose fields say what the service expected of them."""

from django import forms

from approvals.refusals import InvalidDecision


class ExplainedForm(forms.Form):
    def explain(self, error: InvalidDecision) -> None:
        """Put each text at its field; what is about none stands above all."""
        for name, text in error.errors.items():
            self.add_error(name if name in self.fields else None, text)
