"""What a decision must be, before anything is written."""

import re
from collections.abc import Mapping
from typing import Any

import jsonschema
import referencing
from referencing.exceptions import Unresolvable

from approvals.models import Gate, Verdict
from approvals.refusals import InvalidDecision
from approvals.services import outcome
from workflows import masking, registry

COMMENT_LIMIT = 10_000  # characters
ODD = (re.error, TypeError, ValueError, AttributeError, KeyError)  # what a schema that is none can raise


def check(gate: Gate, verdict: str, args: Mapping[str, Any] | None, comment: str, *, of_policy: bool = False) -> None:
    """Raises InvalidDecision that names each field and what was expected."""
    if verdict not in gate.verdicts and not of_policy:  # the policy may do what it says, whether or not people may
        raise InvalidDecision({"verdict": f"one of {', '.join(gate.verdicts)} was expected, not {verdict!r}"})
    check_text("comment", comment, least=0)
    if verdict == Verdict.RESPOND and not comment.strip():
        raise InvalidDecision({"comment": "write the words for the agent first"})
    if verdict in gate.policy.get("comment", ()) and not comment.strip() and not of_policy:
        raise InvalidDecision({"comment": f"the policy wants a reason with {verdict!r}; write a comment"})
    named = masking.secret_fields(registry.schema(gate.run.workflow, gate.run.version)) & set(args or {})
    if named:
        text = "a secret cannot be given with a decision, which is kept as it is; change the state when the run is held"
        raise InvalidDecision({f"args.{name}": text for name in sorted(named)})
    if verdict == Verdict.EDIT:
        _check_edit(gate, args)
    elif verdict != Verdict.HAPPENED and args is not None:
        raise InvalidDecision({"args": f"arguments go only with 'edit' and 'happened', not with {verdict!r}"})


def check_text(name: str, text: str, *, least: int = 1) -> None:
    """Raises InvalidDecision."""
    if len(text.strip()) < least or len(text) > COMMENT_LIMIT or "\0" in text:
        size = f"at most {COMMENT_LIMIT}" if least == 0 else f"{least} to {COMMENT_LIMIT}"
        raise InvalidDecision({name: f"text of {size} characters, without NUL, was expected"})


def _check_edit(gate: Gate, args: Mapping[str, Any] | None) -> None:
    if gate.action is None:
        raise InvalidDecision({"verdict": "this gate has no action that could be edited"})
    if args is None:
        raise InvalidDecision({"args": "the edited arguments were expected"})
    check_args(gate.action["schema"], args)
    if gate.merges:
        outcome.check_edit(gate.run, args)


def check_args(schema: Mapping[str, Any], args: Any) -> None:
    """Raises InvalidDecision that names each argument that the action's JSON Schema refuses."""
    nothing_else = referencing.Registry()  # what the schema refers to is in it: nothing is fetched
    validator = jsonschema.Draft202012Validator(schema, registry=nothing_else, format_checker=jsonschema.FormatChecker())
    try:
        errors = {
            ".".join(["args", *(str(part) for part in error.absolute_path)]): error.message[:500]
            for error in validator.iter_errors(args)
        }
    except (jsonschema.exceptions.SchemaError, jsonschema.exceptions.UnknownType, Unresolvable, RecursionError, *ODD) as error:
        text = f"the workflow's schema of this action cannot be used, so it cannot be edited: {error}"
        raise InvalidDecision({"args": text[:500]}) from None
    properties = schema.get("properties")
    if isinstance(args, Mapping) and isinstance(properties, Mapping) and not schema.get("additionalProperties"):
        unknown = [name for name in args if name not in properties]
        errors |= {f"args.{name}": "the action has no such argument" for name in unknown}
    if errors:
        raise InvalidDecision(errors)
