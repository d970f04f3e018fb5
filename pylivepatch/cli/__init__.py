"""The ``pylivepatch`` command.

Exit status, for every command: 0 only for success, 1 for an error, also one in how the command was called,
and 130 when it was interrupted. ``build`` adds 2 (some difference is refused or needs the patch's author)
and 3 (nothing changed); ``run`` and ``demo`` end as their program does. With ``--json`` a command prints one
JSON object to standard output and nothing else; an error is ``{"error": {…}}``.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NoReturn

import click

from pylivepatch.cli.app import app
from pylivepatch.cli.output import Output
from pylivepatch.errors import LivePatchError

FAILED, INTERRUPTED = 1, 130


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    ours = arguments[:2] if arguments[:1] == ["run"] else arguments  # the rest is the program's
    ours = ours[: ours.index("--")] if "--" in ours else ours
    out = Output(json="--json" in ours)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the terminal cannot show must not fail a load that was done
            stream.reconfigure(errors="replace")
    try:
        status = app.main(args=arguments, prog_name="pylivepatch", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        out.say(error.format_message())
        status = FAILED
    except click.UsageError as error:  # click's own status for these is 2, which for `build` means refused
        hint = f"{error.ctx.command_path} --help" if error.ctx else "pylivepatch --help"
        out.usage(error.format_message(), hint)
        status = FAILED
    except click.ClickException as error:
        out.usage(error.format_message(), "pylivepatch --help")
        status = FAILED
    except LivePatchError as error:
        out.error(error)
        status = FAILED
    except (KeyboardInterrupt, click.Abort):
        out.interrupted("interrupted")
        status = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone: say nothing, also not at exit
        status = FAILED
    except OSError as error:
        sys.stderr.write(f"pylivepatch: the output could not be written: {error}\n")
        with contextlib.suppress(OSError):
            sys.stdout.close()  # what is left of it would fail again at exit
        status = FAILED
    sys.exit(status if isinstance(status, int) else 0)
