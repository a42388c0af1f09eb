"""The typed query of a list of runs: ``status:failed label.customer:acme step:pay error:"timeout" started:<2h cost:>1``.

A chip on the page is one term; a term means the same on the page and in the API.
"""

import re
from dataclasses import dataclass

from runs.filters import FilterInvalid

LIMIT = 1000  # characters of a query
TERMS = 30
NAMES = {
    "status": "queued, running, waiting …; several by comma",
    "workflow": "its name",
    "step": "where it stands, or failed",
    "is": "stuck, late, unfinished, fork, mine …",
    "error": "words of its error",
    "started": "<2h, today, 2026-11-21, a..b",
    "finished": "<2h, today, 2026-11-21, a..b",
    "cost": ">1: dollars",
    "tokens": ">10000",
    "took": ">5m",
    "by": "who started it",
    "waiting": "for people: <1h, 1h..8h, >24h",
    "version": "of its workflow",
    "id": "its last characters",
    "label.": "label.customer:acme",
}
_TOKEN = re.compile(
    r'(?P<not>-)?(?P<name>[a-z]+(?:\.[^\s:"]+)?):(?P<value>"(?:[^"\\]|\\.)*"|\S*)|"(?P<text>(?:[^"\\]|\\.)*)"|(?P<word>\S+)'
)


class QueryInvalid(FilterInvalid):
    """The query cannot be used. The text names the term and what was expected."""


@dataclass(frozen=True)
class Term:
    """One condition; ``name`` is empty for free text, ``label.customer`` for a label."""

    name: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        """As it is typed: reading it again gives the same term."""
        plain = self.value and not re.search(r'[\s"\\]', self.value) and (self.name or not _reads_as_term(self.value))
        value = self.value if plain else '"' + re.sub(r'(["\\])', r"\\\1", self.value) + '"'
        return f"{'-' if self.negated else ''}{self.name}:{value}" if self.name else value


def parse(text: str) -> list[Term]:
    """The terms, in their order. Raises QueryInvalid."""
    if "\0" in text or len(text) > LIMIT:
        raise QueryInvalid(f"query: text of at most {LIMIT} characters, without NUL, was expected")
    terms = [_term(found) for found in _TOKEN.finditer(text)]
    if len(terms) > TERMS:
        raise QueryInvalid(f"query: at most {TERMS} terms were expected")
    return terms


def text_of(terms: list[Term]) -> str:
    return " ".join(str(term) for term in terms)


def without(terms: list[Term], place: int) -> str:
    """The query without the term at ``place``: what its chip's cross leads to."""
    return text_of([term for index, term in enumerate(terms) if index != place])


def _term(found: "re.Match[str]") -> Term:
    if found["word"] and (missing := re.match(r"-?([a-z]+)[<>]", found["word"])) and missing[1] in NAMES:
        raise QueryInvalid(f"{missing[1]}: a colon was expected, as in {missing[1]}:>…, not {found['word'][:50]!r}")
    if found["name"] is None:
        return Term("", found["word"] or _unquoted(found["text"] or ""))
    if found["value"].startswith("//"):  # an address
        return Term("", found[0])
    name, value = found["name"], found["value"]
    if name not in NAMES and not name.startswith("label."):
        known = ", ".join(known for known in NAMES if known != "label.")
        raise QueryInvalid(f"{name}: is no term; known are {known} and label.name. For the text itself, put it in quotes")
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        value = _unquoted(value[1:-1])
    if not value:
        raise QueryInvalid(f"{name}: a value was expected after the colon ({NAMES.get(name, 'text')})")
    return Term(name, value, found["not"] is not None)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _reads_as_term(value: str) -> bool:
    return re.match(r"-?[a-z]+(\.\S+)?:(?!//)", value) is not None
