"""Words from a model: a real one where the user has set one up, else plain extraction that needs no network.

``HOLDFAST_MODEL`` names the model (and ``OPENAI_API_KEY``, perhaps ``OPENAI_BASE_URL``, its access); the client library
comes with ``pip install holdfast[model]``.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence

from workflows import Ctx

STOP = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "for",
        "from",
        "has",
        "in",
        "is",
        "it",
        "its",
        "no",
        "not",
        "of",
        "on",
        "or",
        "that",
        "the",
        "their",
        "this",
        "to",
        "was",
        "when",
        "with",
    ]
)
PRICE_PER_TOKEN = 0.000002  # US dollars, for the offline extraction too, so that the demo shows costs


def ask(ctx: Ctx, task: str, text: str) -> str:
    """The answer, with what it used reported to ``ctx``."""
    name = os.environ.get("HOLDFAST_MODEL")
    if not name:
        answer = extract(text, 3)
        tokens = len(text.split()), len(answer.split())
        ctx.usage(model="extraction", input_tokens=tokens[0], output_tokens=tokens[1], cost_usd=sum(tokens) * PRICE_PER_TOKEN)
        return answer
    from openai import OpenAI

    reply = OpenAI().chat.completions.create(
        model=name, messages=[{"role": "system", "content": task}, {"role": "user", "content": text}]
    )
    if reply.usage is not None:
        ctx.usage(model=name, input_tokens=reply.usage.prompt_tokens, output_tokens=reply.usage.completion_tokens)
    return str(reply.choices[0].message.content)


def extract(text: str, count: int) -> str:
    """The ``count`` sentences whose words are the text's most frequent ones, in their order (H. P. Luhn, 1958)."""
    sentences = sentences_of(text)
    frequent = Counter(word for sentence in sentences for word in words_of(sentence))

    def weight(sentence: str) -> float:
        found = words_of(sentence)
        return sum(frequent[word] for word in found) / (len(found) or 1)

    best = sorted(sentences, key=weight, reverse=True)[:count]
    return " ".join(sentence for sentence in sentences if sentence in best)


def sentences_of(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if len(part.split()) > 3]


def words_of(text: str) -> Sequence[str]:
    return [word for word in re.findall(r"[a-zà-ÿ]{3,}", text.lower()) if word not in STOP]
