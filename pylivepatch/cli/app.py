"""The commands and their options. What each does is in its own module, imported where it is run: the
builder alone would double the time that each command takes to start."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pylivepatch.agent.traces import LARGEST_TRACE, TRACE_SIZE
from pylivepatch.cli import process
from pylivepatch.cli import trace as trace_command
from pylivepatch.cli.output import Output
from pylivepatch.tracing.text import TRACERS
from pylivepatch.way import DEFAULT_GATE, DEFAULT_TIMEOUT, LONGEST_GATE, MODES, SUSPENDED

Function = TypeVar("Function", bound=Callable[..., Any])

_PASS_THROUGH = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def _json(function: Function) -> Function:
    return click.option("--json", "json", is_flag=True, help="Print one JSON object and nothing else.")(
        function
    )


def _target(function: Function) -> Function:
    function = click.option(
        "--socket", metavar="PATH", help="The agent's socket, where --pid does not find it."
    )(function)
    return click.option("--pid", type=click.IntRange(min=1), metavar="PID", help="The process.")(function)


def _transition(function: Function) -> Function:
    def no_gate(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
        if wanted:
            context.params["gate"] = None

    seconds = click.FloatRange(min=0, min_open=True, max=86400)
    options = [
        click.option(
            "--timeout",
            type=seconds,
            default=DEFAULT_TIMEOUT,
            show_default=True,
            metavar="S",
            help="Seconds to wait for those inside old functions, before all is taken back.",
        ),
        click.option("--deep", is_flag=True, help="Search the heap where functions cannot be found otherwise."),
        click.option(
            "--mode",
            type=click.Choice(MODES),
            default=MODES[0],
            show_default=True,
            help="How to switch. per-task promises less: two tasks may run different versions for a while.",
        ),
        click.option(
            "--gate",
            type=click.FloatRange(min=0, min_open=True, max=LONGEST_GATE),
            default=DEFAULT_GATE,
            show_default=True,
            metavar="S",
            help="Longest wait of a new caller, a try, where functions are never idle.",
        ),
        click.option(
            "--no-gate", is_flag=True, expose_value=False, callback=no_gate, help="Let no caller wait."
        ),
        click.option(
            "--suspended",
            type=click.Choice(SUSPENDED),
            default=SUSPENDED[0],
            show_default=True,
            help="Whether suspended generators and coroutines hold it, or finish on the old code, which taints.",
        ),
        click.option(
            "--incremental",
            is_flag=True,
            help="Switch group by group, each when it is idle. Promises less: the patch as a whole may stay in part.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _record(function: Function) -> Function:
    function = click.option(
        "--greenlets", is_flag=True, help="In the record, those that are switched out; looking holds every thread."
    )(function)
    function = click.option("--events", metavar="FILE", help="Keep what happens as JSON lines, for `report`.")(function)
    return click.option("--report", metavar="FILE", help="Show what happened as an HTML page.")(function)


def _version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"pylivepatch {importlib.metadata.version('pylivepatch')}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def app() -> None:
    """Live patching for running Python processes."""


@app.command()
@click.option(
    "--dist", nargs=3, multiple=True, metavar="NAME OLD NEW", help="Two releases of a distribution; several in one."
)
@click.option("--git", nargs=3, metavar="FOLDER OLD NEW", help="Two revisions of a repository, or of a folder in it.")
@click.option(
    "--diff", multiple=True, metavar="FILE", help="A unified diff against --source; several in order."
)
@click.option("--source", metavar="DIR", help="The tree that the diff is against.")
@click.option("--from", "old", metavar="OLD", help="The old source: a folder or a file.")
@click.option("--to", "new", metavar="NEW", help="The new source.")
@click.option("-o", "--output", metavar="FILE", help="The patch file to write.  [default: NAME.plp]")
@click.option("--name", help="The patch's name.  [default: from the output file]")
@click.option("--description", default="", help="What the patch is for.")
@click.option("--hooks", metavar="FILE", help="The author's part: callbacks, transformers, statements.")
@_json
@click.pass_context
def build(context: click.Context, /, json: bool, **options: Any) -> None:
    """Build a patch file from two releases, two revisions, diffs, or two source trees.

    Exit status: 0 built, 1 error, 2 some difference is refused or needs the author, 3 nothing changed.
    """
    from pylivepatch.cli import build as build_command

    context.exit(build_command.build(Output(json=json), build_command.Options(**options)))


@app.command()
@click.argument("file")
@click.option("--hooks", is_flag=True, help="Show the source of its hooks file, too.")
@_json
def info(file: str, hooks: bool, json: bool) -> None:
    """Show what is in a patch file."""
    from pylivepatch.cli import info as info_command

    info_command.info(Output(json=json), file, hooks=hooks)


@app.command()
@click.argument("code", required=False)
@_json
def explain(code: str | None, json: bool) -> None:
    """Say what a code means and what to do; without one, list them all."""
    from pylivepatch.cli import explain as explain_command

    explain_command.explain(Output(json=json), code)


@app.command()
@click.argument("file")
@_target
@_transition
@_record
@click.option("--replace", is_flag=True, help="Take the place of all patches that are applied, in the same switch.")
@_json
def load(file: str, pid: int | None, socket: str | None, replace: bool, json: bool, **options: Any) -> None:
    """Load a patch file into a running process."""
    process.load(Output(json=json), process.target(pid, socket), file, replace=replace, **options)


@app.command()
@click.argument("name")
@_target
@_transition
@_record
@_json
def unload(name: str, pid: int | None, socket: str | None, json: bool, **options: Any) -> None:
    """Take a patch out of a running process again."""
    process.unload(Output(json=json), process.target(pid, socket), name, **options)


@app.command()
@click.argument("log")
@click.option("-o", "--output", metavar="FILE", help="The HTML page to write.")
@click.option("--perfetto", metavar="FILE", help="A trace for ui.perfetto.dev or chrome://tracing to write.")
@_json
def report(log: str, output: str | None, perfetto: str | None, json: bool) -> None:
    """Show a transition that `load --events` or `unload --events` kept, as a page or a trace."""
    from pylivepatch.cli import record as record_command

    if output is None and perfetto is None:
        raise click.UsageError("name a file to write: -o for the page, --perfetto for the trace")
    record_command.report(Output(json=json), log, output, perfetto)


@app.command("list")
@_target
@_json
def list_(pid: int | None, socket: str | None, json: bool) -> None:
    """List the patches of a process, or every process with an agent."""
    if pid is None and socket is None:
        process.list_agents(Output(json=json))
    else:
        process.list_patches(Output(json=json), process.target(pid, socket))


def _greenlets(function: Function) -> Function:
    return click.option(
        "--greenlets", is_flag=True, help="Show those that are switched out; looking for them holds every thread."
    )(function)


def _watch(function: Function) -> Function:
    function = _greenlets(function)
    count = click.option("--count", type=click.IntRange(min=1), metavar="N", help="So many looks, then end.")
    function = count(function)
    return click.option(
        "--interval",
        type=click.FloatRange(min=0.01),
        default=1.0,
        show_default=True,
        metavar="S",
        help="Seconds between two looks.",
    )(function)


@app.command()
@_target
@click.option("--watch", is_flag=True, help="Look again and again, as top does.")
@_watch
@_json
def status(pid: int | None, socket: str | None, watch: bool, json: bool, **options: Any) -> None:
    """Show the transition under way in a process: its stage, its counter, who holds it."""
    client = process.target(pid, socket)
    if watch:
        from pylivepatch.cli import top as top_command

        top_command.top(Output(json=json), client, **options)
    else:
        process.status(Output(json=json), client)


@app.command()
@_target
@_watch
@_json
def top(pid: int | None, socket: str | None, json: bool, **options: Any) -> None:
    """Watch a process: patches, the transition, who holds it, where each thread and task stands, the worst delay.

    Keys on a terminal: r reverse, f force, u unload the newest patch, q quit. Elsewhere it prints a block for each
    look, with --json an object a line.
    """
    from pylivepatch.cli import top as top_command

    top_command.top(Output(json=json), process.target(pid, socket), **options)


@app.command()
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@_target
@click.option("--notrace", multiple=True, metavar="PATTERN", help="Not these; several.")
@click.option(
    "--tracer",
    type=click.Choice(sorted(TRACERS)),
    default="function_graph",
    show_default=True,
    help="The calls as a tree with durations, or a line for each entry.",
)
@click.option("--format", type=click.Choice(trace_command.FORMATS), default="text", show_default=True, help="How.")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds.")
@click.option("--depth", type=click.IntRange(min=0), default=0, metavar="N", help="Show so many levels of calls.")
@click.option(
    "--size",
    type=click.IntRange(1, LARGEST_TRACE),
    default=TRACE_SIZE,
    show_default=True,
    metavar="N",
    help="Records that the buffer in the process holds.",
)
@click.option("-o", "--output", metavar="FILE", help="Write the trace there.")
@_json
def trace(pid: int | None, socket: str | None, json: bool, **options: Any) -> None:
    """Trace the functions of a running process whose module.qualname matches, in ftrace's manner.

    A pattern is as for file names: 'myservice.orders.*'. With --json the trace must go to a file.
    """
    chosen = trace_command.options_of(options)
    if json and chosen.output is None:
        raise click.UsageError("--json prints one object: name a file for the trace with -o")
    trace_command.trace(Output(json=json), process.target(pid, socket), chosen)


@app.command()
@click.argument("file", required=False)
@_target
@click.option("--old", "version", flag_value="old", help="It must run the patch's old version, applied or not.")
@click.option("--new", "version", flag_value="new", help="It must run the patch's new version, applied or not.")
@click.option("--package", "packages", multiple=True, metavar="NAME", help="Compare these only; several.")
@_json
@click.pass_context
def verify(
    context: click.Context,
    file: str | None,
    pid: int | None,
    socket: str | None,
    version: str | None,
    packages: tuple[str, ...],
    json: bool,
) -> None:
    """Compare a process with a fresh import: of the sources on disk, or of what a patch file carries.

    Exit status: 0 equal, 1 error, 2 different, 3 nothing differs, but not all could be compared.
    """
    from pylivepatch.cli import verify as verify_command

    client = process.target(pid, socket)
    context.exit(verify_command.verify(Output(json=json), client, file, version, packages))


@app.command()
@_target
@_json
def reverse(pid: int | None, socket: str | None, json: bool) -> None:
    """Have the transition under way taken back."""
    process.ask(Output(json=json), process.target(pid, socket), "reverse")


@app.command()
@_target
@_json
def force(pid: int | None, socket: str | None, json: bool) -> None:
    """Have the transition under way switch now, whoever is inside.

    Those inside finish on the old functions beside the new ones. The process is tainted, and a patch that was forced in
    cannot be taken out.
    """
    process.ask(Output(json=json), process.target(pid, socket), "force")


@app.command()
@_target
@_json
def signal(pid: int | None, socket: str | None, json: bool) -> None:
    """Wake those who sleep and hold the transition under way, where Python can wake them."""
    process.ask(Output(json=json), process.target(pid, socket), "signal")


@app.command(context_settings=_PASS_THROUGH, options_metavar="[--json]")
@_json
@click.argument(
    "program", nargs=-1, type=click.UNPROCESSED, metavar="[-m MODULE | -c CODE | SCRIPT] [ARGUMENT]..."
)
def run(program: tuple[str, ...], json: bool) -> None:
    """Run a Python program with an agent in it.

    The program is run as Python itself runs it. Its output and exit status are its own; --json is for
    errors before it begins.
    """
    from pylivepatch.agent import run as runner

    runner.run(program)


@app.command()
@click.option(
    "--after",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Load it so many seconds after the start.  [default: when its modules are imported]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True, max=86400),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    metavar="S",
    help="Seconds to wait for those inside old functions.",
)
@click.option("--unload-after", is_flag=True, help="Take the patch out again at once, and verify both ways.")
@_json
@click.argument("file")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND [ARGUMENT]...")
@click.pass_context
def rehearse(context: click.Context, /, file: str, command: tuple[str, ...], json: bool, **options: Any) -> None:
    """Run a command on the old code, and load a patch into it while it runs.

    COMMAND is what Python is to run: -m MODULE, a script, or a script of Python's such as pytest. Ends with its exit
    status, or with 1 where the patch could not be loaded.
    """
    from pylivepatch.cli import rehearse as rehearse_command

    context.exit(rehearse_command.rehearse(Output(json=json), file, command, **options))


@app.command(context_settings=_PASS_THROUGH)
@_json
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(name: str | None, arguments: tuple[str, ...], json: bool) -> None:
    """Run a demo; without a name, list them. Ends with the demo's exit status."""
    from pylivepatch.cli import demo as demo_command

    demo_command.demo(Output(json=json), name, list(arguments))


app.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_version,
        help="Show the version.",
    )
)
