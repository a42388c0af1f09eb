"""Durable steps per second of Holdfast: one worker process. Takes and prints what the peers' programs do (peers/).

A run is claimed and carried through ``--steps`` steps as a run worker does it: validated state, journal, digest, poke. The
loop of runs alone is timed; the runs are created before.
"""

import json
import os
import secrets

from benchmarks.peers.measuring import WARM_UP_RUNS, arguments, measure


def main() -> None:
    args = arguments(__doc__).parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "holdfast.settings")
    import logging

    import django

    django.setup()
    logging.getLogger("holdfast").setLevel(logging.WARNING)  # the peers are quiet too
    from django.contrib.auth.models import User

    from benchmarks import boundary, workflows
    from engine import advancing
    from engine.services import starting

    user = User.objects.get(username="bench")
    workflows.payloads[:] = [secrets.token_hex(args.size // 2 + 1)[: args.size] for _ in range(args.steps + 1)]
    given = {"payload": workflows.payloads[0], "steps": args.steps, "rewrites": args.change == "rewrite"}

    count = WARM_UP_RUNS + args.rounds * args.runs
    with boundary.silent_bells(), boundary.own_lease():
        runs = iter([starting.start(workflow="bench-durable", input=given, by=user)[0].pk for _ in range(count)])

        def carry_on() -> None:
            assert advancing.advance(next(runs)), "the run was not due"

        figures = measure(carry_on, args)
    print(json.dumps({"peer": "holdfast", **figures}))


if __name__ == "__main__":
    main()
