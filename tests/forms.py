"""Filling a form in as a browser would."""

from approvals.edit_form import EditForm


def posted(form_schema, args, **changes):
    """What a browser would send of the form, with some fields changed."""
    shown = EditForm(form_schema, args)
    data = {}
    for field in shown:
        value = field.value()
        widget = field.field.widget
        text = widget.format_value(value)
        if type(widget).__name__ == "CheckboxInput":
            if value:
                data[field.html_name] = "on"
            continue
        if isinstance(text, list):
            text = text[0] if text else ""
        data[field.html_name] = "" if text is None else str(text)
    for name, value in changes.items():
        data[f"field-{name}"] = value
    form = EditForm(form_schema, args, data)
    assert form.is_valid(), form.errors
    return form.arguments()
