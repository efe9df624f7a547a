"""What all commands have in common: global options at any place, things given by position or by name, UTF-8 text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import click

from ...errors import InvalidInput, PayloadTooLarge
from .context import Context

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_GIVEN = "given_"
_TYPED = "agentlip.typed"
# Fields of the API whose options have other names than they.
_OPTIONS = {"content_raw": "--content", "q": "--query"}


class Field(click.Argument):
    """An argument that an option can give as well; the arguments left over fill the other fields in order."""

    def __init__(self, *args: Any, needed: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"required": False})
        self.needed = needed


def field(name: str, *options: str, needed: bool = True, help: str | None = None) -> _Decorator:
    """Declare a field NAME, and the options that give it by name. Of a Command only."""
    metavar = name.upper() if needed else f"[{name.upper()}]"

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        option = click.option(
            *options, _GIVEN + name, metavar=name.upper(), help=help or f"The same as {name.upper()}."
        )
        return click.argument(name, cls=Field, metavar=metavar, needed=needed)(option(function))

    return decorate


def of_places(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the options that give `channels` and `topics`."""
    channel = click.option("--channel", "--channel-id", "channels", metavar="CHANNEL", multiple=True,
                           help="Only of this channel (id or name); may be repeated.")  # fmt: skip
    topic = click.option("--topic", "--topic-id", "topics", metavar="TOPIC", multiple=True,
                         help="Only of this topic (id, or channel/title); may be repeated.")  # fmt: skip
    return channel(topic(function))


class Command(click.Command):
    """A command with fields, that refuses text which is not UTF-8."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (InvalidInput, PayloadTooLarge) as error:
            error.args = (re.sub(r"^[a-z_.]+(?= )", lambda field: self._typed(context, field[0]), str(error)),)
            raise

    def _typed(self, context: click.Context, field: str) -> str:
        """What the person knows a field of the API by: the option as typed, or the argument's name."""
        name, _, key = field.partition(".")
        option = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
        words: set[str] = context.meta[_TYPED]
        for param in self.params:
            if option in param.opts:
                for typed in words.intersection(param.opts):
                    return f"{key} in {typed}" if key else typed
                if str(param.name).startswith(_GIVEN):
                    return str(param.metavar)
        return f"--{key}" if f"--{key}" in words else field

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        context.meta[_TYPED] = {arg.partition("=")[0] for arg in args}
        rest = super().parse_args(context, args)
        if not context.resilient_parsing:  # not while a shell asks for completions
            self._fill(context)
            self._refuse_odd_bytes(context)
        return rest

    def _fill(self, context: click.Context) -> None:
        """Give each field its option's value, or else the next argument."""
        fields = [param for param in self.params if isinstance(param, Field)]
        positional = [context.params[each.name] for each in fields if context.params[each.name] is not None]
        for each in fields:
            value = context.params.pop(f"{_GIVEN}{each.name}")
            if value is None and positional:
                value = positional.pop(0)
            context.params[each.name] = value
        if positional:
            raise click.UsageError(f"Got unexpected extra argument ({positional[0]})", context)
        for each in fields:
            if each.needed and context.params[each.name] is None:
                raise click.MissingParameter(ctx=context, param=each)

    def _refuse_odd_bytes(self, context: click.Context) -> None:
        for name, value in context.params.items():
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and not _is_utf8(text):
                    param = next(each for each in self.params if each.name in (name, f"{_GIVEN}{name}"))
                    raise click.BadParameter("it is not UTF-8 text", context, param)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # Python keeps bytes it cannot decode as halves of characters
        return False
    return True


class Group(click.Group):
    """A group of such commands, that knows what was meant by a name that is none."""

    command_class = Command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(context, args[0]) is None and not context.resilient_parsing:
            near = " or ".join(f"`{each}`" for each in self._near(context, args[0]))
            meant = f". Did you mean {near}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}{meant}", context)
        return super().resolve_command(context, args)

    def _near(self, context: click.Context, name: str) -> list[str]:
        """The commands elsewhere that are called so, and those here that are called nearly so."""
        root = context.find_root()
        program = root.command
        assert isinstance(program, click.Group)
        groups = {each: program.get_command(root, each) for each in program.list_commands(root)}
        elsewhere = [
            each for each, group in groups.items() if isinstance(group, click.Group) and name in group.commands
        ]
        own = get_close_matches(name, self.list_commands(context))
        return [f"{root.command_path} {each} {name}" for each in elsewhere] + [
            f"{context.command_path} {each}" for each in own
        ]


def global_options(hidden: bool = False) -> Iterator[click.Option]:
    """The options of every command; each writes to the context's Context. Below the program itself they are hidden."""
    hub, token = (None, None) if hidden else ("AGENTLIP_URL", "AGENTLIP_TOKEN")
    folder = click.Path(path_type=str)  # of any bytes, not of text
    yield _global("workspace", "--workspace", metavar="DIR", type=folder, hidden=hidden,
                  help="The folder that holds .agentlip. [default: found from here upwards]")  # fmt: skip
    yield _global("url", "--url", envvar=hub, metavar="URL", hidden=hidden,
                  help="A remote hub, for example https://hub.example.")  # fmt: skip
    yield _global("token", "--token", envvar=token, metavar="TOKEN", hidden=hidden,
                  help="The remote hub's token; @FILE reads it from a file. Better in AGENTLIP_TOKEN: other "
                  "users can see command lines.")  # fmt: skip
    yield _global("as_json", "--json", is_flag=True, hidden=hidden, help="Print JSON.")
    yield _global("offline", "--offline", is_flag=True, hidden=hidden,
                  help="Read the workspace's file, without a hub. Nothing is changed.")  # fmt: skip


def _global(name: str, *options: str, **kwargs: Any) -> click.Option:
    def keep(context: click.Context, _option: click.Parameter, value: Any) -> None:
        before: Context = context.obj or Context()
        context.obj = before if value is None or value is False else replace(before, **{name: value})

    return click.Option([*options, f"global_{name}"], expose_value=False, callback=keep, **kwargs)


def accept_everywhere(command: click.Command) -> None:
    """Let the command and those below it take the global options, but for those it has itself; also twice."""
    own = {name for param in command.params for name in param.opts}
    command.params += [option for option in global_options(hidden=True) if not own & set(option.opts)]
    command.epilog = "The options of `agentlip` itself, such as --json, may appear here as well."
    if isinstance(command, click.Group):
        for each in command.commands.values():
            accept_everywhere(each)
