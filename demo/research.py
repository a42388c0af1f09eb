"""Read documents and answer a question: ten steps, each with its cost, one of them flaky, a gate when it is not sure."""

import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from demo import model
from workflows import Append, Ctx, FanOut, Policy, Proposal, Retry, State, Transient, Workflow

SHIPPED = Path(__file__).parent / "data"


class Document(BaseModel):
    title: Annotated[str, Field(max_length=300)]
    text: Annotated[str, Field(max_length=500_000)]


class Research(State):
    question: Annotated[str, Field(min_length=3, max_length=1000, description="What you want to know")]
    documents: Annotated[
        list[Document], Field(max_length=50, description="Left empty, three texts that ship with the demo")
    ] = []
    pace: Annotated[float, Field(ge=0, le=30, description="Seconds that each step takes at least")] = 0.8
    terms: list[str] = []
    passages: Annotated[list[str], Append] = []
    claims: list[str] = []
    contradictions: int = 0
    confidence: float = 0.0
    draft: str = ""
    critique: str = ""
    answer: str = ""


class PublishAction(BaseModel):
    answer: Annotated[str, Field(max_length=20_000)]


research = Workflow("research", retention="90d", state=Research, version="1")


def work(state: Research, ctx: Ctx, what: str) -> None:
    """Take the time that a model would take, and show how far it is."""
    for part in range(1, 11):
        time.sleep(state.pace / 10)
        ctx.progress(part / 10, what)


@research.step
def gather(state: Research, ctx: Ctx) -> dict[str, Any] | None:
    work(state, ctx, "collecting documents")
    if state.documents:
        return None
    files = sorted(SHIPPED.glob("*.txt"))
    found = [file.read_text().split("\n", 1) for file in files]
    return {"documents": [{"title": title, "text": text} for title, text in found]}


@research.step
def plan(state: Research, ctx: Ctx) -> dict[str, Any]:
    work(state, ctx, "choosing search terms")
    words = list(dict.fromkeys(model.words_of(state.question)))
    ctx.usage(model="extraction", input_tokens=len(state.question.split()), output_tokens=len(words), cost_usd=0.0002)
    return {"terms": words or ["the"]}


@research.step(then=["quote"])
def read(state: Research) -> FanOut:
    """All documents at once, each by a branch of its own."""
    return FanOut("quote", range(len(state.documents)))


@research.branch
def quote(state: Research, ctx: Ctx, number: int) -> dict[str, Any]:
    work(state, ctx, f"reading “{state.documents[number].title}”")
    return {"passages": [model.ask(ctx, "Quote what matters.", state.documents[number].text)]}


@research.step
def search(state: Research, ctx: Ctx) -> dict[str, Any]:
    work(state, ctx, "searching for the terms")
    sentences = [sentence for document in state.documents for sentence in model.sentences_of(document.text)]
    hits = [sentence for sentence in sentences if any(term in sentence.lower() for term in state.terms)]
    ctx.usage(model="extraction", input_tokens=sum(len(s.split()) for s in sentences), cost_usd=0.0011)
    return {"passages": hits[:20]}


@research.step(retry=Retry(attempts=4, backoff=0.5, cap=3))
def extract_claims(state: Research, ctx: Ctx) -> dict[str, Any]:
    """The flaky one: its first attempt is turned away, as busy models do."""
    work(state, ctx, "extracting claims")
    if ctx.attempt == 1:
        raise Transient("429: the model is busy", retry_after=0.5)
    claims = list(dict.fromkeys(sentence for passage in state.passages for sentence in model.sentences_of(passage)))
    ctx.usage(model="extraction", input_tokens=900, output_tokens=300, cost_usd=0.0024)
    return {"claims": claims[:30]}


@research.step
def cross_check(state: Research, ctx: Ctx) -> dict[str, Any]:
    work(state, ctx, "comparing claims")
    negated = sum(1 for claim in state.claims if {"not", "no", "cannot", "almost"} & set(claim.lower().split()))
    ctx.usage(model="extraction", input_tokens=700, output_tokens=40, cost_usd=0.0015)
    return {"contradictions": negated}


@research.step
def weigh(state: Research, ctx: Ctx) -> dict[str, Any]:
    work(state, ctx, "weighing the evidence")
    text = " ".join(state.claims).lower()
    covered = sum(term in text for term in state.terms) / len(state.terms)
    return {"confidence": round(max(0.0, covered - 0.02 * state.contradictions), 2)}


@research.step
def write(state: Research, ctx: Ctx) -> dict[str, Any]:
    work(state, ctx, "writing a draft")
    draft = model.ask(ctx, f"Answer: {state.question}", " ".join(state.claims))
    ctx.stream(draft)
    return {"draft": draft}


@research.step
def criticise(state: Research, ctx: Ctx) -> dict[str, Any]:
    work(state, ctx, "criticising the draft")
    missing = [term for term in state.terms if term not in state.draft.lower()]
    ctx.usage(model="extraction", input_tokens=300, output_tokens=30, cost_usd=0.0007)
    return {"critique": f"It says nothing about: {', '.join(missing)}." if missing else "It covers every term."}


@research.step
def revise(state: Research, ctx: Ctx) -> dict[str, Any]:
    work(state, ctx, "revising")
    extra = [claim for claim in state.claims if claim not in state.draft][:1] if "nothing" in state.critique else []
    ctx.usage(model="extraction", input_tokens=400, output_tokens=120, cost_usd=0.0013)
    return {"answer": " ".join([state.draft, *extra])}


@research.gate(
    when=lambda state: state.confidence < 0.6,
    policy=Policy(approvers=["group:finance"], timeout="7d", on_timeout="reject"),
    verdicts=["approve", "edit", "reject", "respond"],
    on_respond="plan",
)
def sure(state: Research) -> Proposal:
    summary = f"**{state.question}**\n\n{state.answer}\n\n*{state.critique}*"
    title = f"Publish an answer with confidence {state.confidence:.2f}?"
    return Proposal(title, summary, PublishAction(answer=state.answer), context=["confidence", "contradictions", "critique"])


@research.step
def publish(state: Research, ctx: Ctx) -> None:
    ctx.log("published", words=len(state.answer.split()))
