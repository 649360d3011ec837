"""``av-td3 faults``."""

from __future__ import annotations

import typer
from rich.console import Console

app = typer.Typer(
    help="List the fault catalogue: failures that `av-td3 train --inject` makes on purpose.",
    invoke_without_command=True,
    no_args_is_help=False,
)


@app.callback()
def faults(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_faults()


@app.command("list")
def list_faults() -> None:
    """List the faults: id, what happens, the alert and the finding that must name it."""
    from rich.table import Table

    from av_td3.training.fault_catalogue import FAULTS

    table = Table(title="Fault catalogue", title_justify="left", pad_edge=False)
    table.add_column("fault", no_wrap=True)
    table.add_column("what happens; the alert and the finding that must name it", overflow="fold")
    for fault in FAULTS.values():
        table.add_row(fault.id, f"{fault.what}\n[dim]{fault.alert}; {fault.finding}[/dim]")
    Console().print(table)
