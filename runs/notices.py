"""Answers to a part of a page that say something above it, and leave the rest, with all that was typed, as it is."""

from django.http import HttpResponse


def into_notices(answer: HttpResponse) -> HttpResponse:
    """Have htmx put the answer into the page's notices."""
    for name, value in {"HX-Retarget": "#notices", "HX-Reswap": "innerHTML", "HX-Push-Url": "false"}.items():
        answer.headers[name] = value
    return answer
