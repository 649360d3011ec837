"""Turn the agent of a finished run into a folder for others: policy, configuration, model card.

    python -m tools.ship_agent runs/base base --evaluation empty.json --evaluation traffic.json

writes ``packages/av_td3/src/av_td3/agents/base``.  The evaluations are files that ``av-td3 evaluate RUN
--json FILE`` wrote; each must be of the checkpoint that is shipped.  Without any, the run's final evaluation
is taken.  ``--add`` replaces the figures of a folder that exists, with evaluations of the run or of the
shipped agent itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from av_td3.training import cards, shipped
from av_td3.training.checkpoint import CheckpointError
from av_td3.training.run_directory import RunError
from av_td3.training.shipped import Measured, ShippedAgent, ShippedAgentError

LARGEST = 4_000_000
"""Bytes of a policy; the package has several agents."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command.  When something is wrong, it prints one line and exits with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", help="run directory; with --add, the shipped agent's name or folder")
    parser.add_argument("name", nargs="?", help="name of the agent, such as base")
    parser.add_argument(
        "--checkpoint", help="best, a step or a path; default: what the final evaluation drove"
    )
    parser.add_argument("--evaluation", action="append", type=Path, default=[], metavar="FILE")
    parser.add_argument("--about", help="one sentence: what the agent is")
    parser.add_argument("--limit", action="append", default=[], help="one sentence: what it cannot do")
    parser.add_argument("--into", type=Path, default=shipped.BUNDLED, help="folder of the agents")
    parser.add_argument("--add", action="store_true", help="give a shipped agent new figures")
    args = parser.parse_args(arguments)
    try:
        if args.add:
            made = give_figures(shipped.find(args.run), args.evaluation)
        elif args.name is None:
            parser.error("give the name of the agent")
        else:
            made = ship(
                args.run,
                args.into / args.name,
                which=args.checkpoint,
                evaluations=args.evaluation,
                about=args.about,
                limits=args.limit,
            )
    except (ShippedAgentError, CheckpointError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    size = (made.folder / shipped.POLICY).stat().st_size
    print(f"{made.folder}: {size / 1e6:.2f} MB, {len(made.figures['evaluations'])} evaluations")


def ship(
    run: str | Path,
    folder: Path,
    *,
    which: str | None = None,
    evaluations: Sequence[Path] = (),
    about: str | None = None,
    limits: Sequence[str] = (),
) -> ShippedAgent:
    """Write the folder.

    Raises:
        ShippedAgentError: the agent is too large, or an evaluation is of another agent.
        CheckpointError, RunError: the run has no such agent.
    """
    source = cards.final_agent(run, which)
    home = source.run
    if home is None:
        raise ShippedAgentError(f"{run} is no run directory")
    if home.injected_fault() is not None:
        raise ShippedAgentError(f"{run} was trained with an injected fault: such an agent is not shipped")
    files = list(evaluations) or [home.evaluations / "final.json"]
    figures = [_evaluation(file, {source.sha256}) for file in files]
    agent = source.load()
    size = sum(4 * t.numel() for t in shipped.policy_tensors(agent).values())
    if size > LARGEST:
        raise ShippedAgentError(
            f"the policy of {run} has {size / 1e6:.1f} MB; at most {LARGEST / 1e6:.0f} MB are shipped: "
            "train it with a smaller agent.feature_size or agent.encoder_net=small"
        )
    training = cards.training_of(source, home)
    return shipped.write(
        folder,
        agent,
        source.config,
        training,
        about=about or cards.about(training),
        limits=list(limits),
        evaluations=figures,
    )


def give_figures(agent: ShippedAgent, files: Sequence[Path]) -> ShippedAgent:
    """Replace the figures of a shipped agent.

    Raises:
        ShippedAgentError: no evaluation, or one of another agent.
    """
    if not files:
        raise ShippedAgentError("--add needs at least one --evaluation FILE")
    known = {agent.figures["policy_sha256"], agent.figures["training"]["checkpoint_sha256"]}
    figures: list[Measured] = [_evaluation(file, known) for file in files]
    made = ShippedAgent(agent.folder, agent.config, {**agent.figures, "evaluations": figures})
    shipped.write_figures(made)
    return made


def _evaluation(file: Path, hashes: set[str]) -> Measured:
    try:
        document = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ShippedAgentError(f"cannot read the evaluation {file}: {error}") from None
    figures = shipped.measured(document)
    if figures["conditions"].get("agent_sha256") not in hashes:
        raise ShippedAgentError(f"{file} is the evaluation of another agent or checkpoint")
    return figures


if __name__ == "__main__":
    main()
