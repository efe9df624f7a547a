"""The entry point: global options, and one exit code for each kind of failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NoReturn

import click

from ..errors import AgentlipError, ConfigError, LockHeld, StorageError
from ..version import __version__
from . import commands
from .support import output
from .support.command import Group, accept_everywhere, global_options
from .support.exits import ERROR, INTERRUPTED, OK, details_of, exit_code, name_of, one_line
from .support.standard_files import open_standard_files, output_error

# The order of the help. The commands are the files of `commands/`, imported when asked for; new ones come last.
_ORDER = (
    "init", "up", "down", "status", "ui", "doctor", "backup", "restore", "token",
    "channel", "topic", "msg", "attachment", "search", "tail", "events", "listen",
)  # fmt: skip


class Commands(Group):
    """Finds commands by their files, and turns every expected failure into one line and an exit code."""

    def list_commands(self, context: click.Context) -> list[str]:
        found = {module.name for module in iter_modules(commands.__path__)}
        return [*(each for each in _ORDER if each in found), *sorted(found.difference(_ORDER))]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        command: click.Command = getattr(import_module(f"{commands.__name__}.{name}"), name)
        accept_everywhere(command)
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _ending_well():
            return super().make_context(*args, **kwargs)

    def invoke(self, context: click.Context) -> Any:
        with _ending_well():
            return super().invoke(context)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **kwargs: Any) -> NoReturn:  # type: ignore[override]
        """Run a command line and exit with the code of docs/cli.md."""
        open_standard_files()
        given = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in (given[: given.index("--")] if "--" in given else given)
        code = self._run(given, prog_name or "agentlip", as_json)
        lost = output_error()
        if code == OK and lost is not None and not isinstance(lost, BrokenPipeError):
            output.note(f"cannot write to standard output: {lost.strerror}")
            code = ERROR
        sys.exit(code)

    def _run(self, args: list[str], program: str, as_json: bool) -> int:
        try:
            return super().main(args, program, standalone_mode=False) or OK
        except click.exceptions.Exit as end:
            return end.exit_code
        except SystemExit as end:  # of a signal
            return int(end.code or OK)
        except click.exceptions.NoArgsIsHelpError as error:
            if as_json:
                return _fail("Missing command", "INVALID_INPUT", {}, ERROR, as_json)
            output.say(error.format_message())
            return ERROR
        except click.ClickException as error:
            return _fail(_usage_line(error), "INVALID_INPUT", {}, ERROR, as_json)  # click's own 2 is a conflict here
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
        except OSError as error:
            if output_error() is not None:
                return OK  # as far as the work goes
            return _fail(one_line(error), name_of(error), {}, exit_code(error), as_json)
        except (AgentlipError, ConfigError, StorageError, LockHeld) as error:
            return _fail(one_line(error), name_of(error), details_of(error), exit_code(error), as_json)


@contextmanager
def _ending_well() -> Iterator[None]:
    """A command has done its work when nobody reads its output any more; click would call it a failure.

    Interrupted, it ends without a word; click would write an empty line, which is for terminals.
    """
    try:
        yield
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            output.say("")
        raise click.exceptions.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        output.point_to_nowhere(sys.stdout)
        raise click.exceptions.Exit(OK) from None


def _fail(line: str, code: str, details: dict[str, Any], exit_code: int, as_json: bool) -> int:
    """Say what went wrong: on standard error, or as JSON on standard output."""
    if as_json:
        with suppress(OSError):
            output.json_error(line, code, details)
            return exit_code
    output.note(line)
    return exit_code


def _usage_line(error: click.ClickException) -> str:
    line = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or line.endswith("?"):
        return line
    return f"{line}; see `{context.command_path} --help`"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version")
@click.pass_context
def main(context: click.Context) -> None:
    """Run a hub for AI agents and people, and talk to one.

    The options below may appear anywhere on the command line.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False


main.params[:0] = global_options()
