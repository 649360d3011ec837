"""``av-td3 compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from av_td3.cli.errors import user_errors


def compare(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]RUN[:AGENT]...",
            help="Run directories, or JSON files of `av-td3 evaluate`.  Those of one NAME are training runs "
            "of one method; without a name, runs whose folders differ in -sSEED belong together.",
        ),
    ],
    metric: Annotated[
        str,
        typer.Option(
            help="Score of a drive: route_completion, driving_score, driving_score_2_1, success_rate or "
            "clean_success_rate."
        ),
    ] = "route_completion",
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Show the untrained, random and classical drivers, too.")
    ] = False,
    stratified: Annotated[
        bool,
        typer.Option(
            "--stratified",
            help="Resample the runs of each route independently, as rliable does.  The intervals are then "
            "narrower: too narrow where a run is good or bad on all routes alike.",
        ),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures into this file.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the performance profiles into this .png, .svg or .pdf file."),
    ] = None,
) -> None:
    """Compare methods, each trained with one or more seeds: interquartile mean, probability of improvement.

    All must have driven the same held-out routes: the final evaluations of runs with the same settings, or
    `av-td3 evaluate --json FILE` with the same --seed and --map.
    """
    with user_errors():
        from av_td3.commands import common
        from av_td3.commands import compare as command

        with common.one_line_errors():
            command.compare(
                inputs,
                metric=metric,
                baselines=baselines,
                resampling="stratified" if stratified else "crossed",
                json_file=json_file,
                figure=figure,
            )
