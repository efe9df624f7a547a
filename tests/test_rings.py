"""The rings: imports go down only, and each foreign library has one place.

The sources are parsed, not run, so imports inside functions and for type checking count as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "agentlip"
GROUND = {
    "errors",
    "config",
    "setting_values",
    "model",
    "wire",
    "workspace",
    "concurrency",
    "listening",
    "version",
    "looks",
}
# What a part of the package may import from the package. The rest (server, cli, __init__ ...) may use them all.
BELOW = {
    **dict.fromkeys(GROUND, GROUND),
    "store": GROUND | {"store"},
    "hub": GROUND | {"store", "hub"},
    "commands": GROUND | {"store", "hub", "commands"},
    "server": GROUND | {"store", "hub", "commands", "server"},
    "client": GROUND | {"client"},
    "cli": GROUND | {"store", "commands", "client", "cli"},
}
# Where a foreign library may be imported.
HOMES = {
    "sqlite3": {"store"},
    "flask": {"server"},
    "flask_sock": {"server"},
    "werkzeug": {"server"},
    "jinja2": {"server"},
    "itsdangerous": {"server"},
    "simple_websocket": {"server"},
    "wsproto": {"server"},
    "gevent": {"concurrency"},
    "gunicorn": {"server"},
    "click": {"cli"},
    "rich": {"cli"},
    "urllib3": {"client"},
    "websockets": {"client"},
}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def part_of(source: Path) -> str:
    """The first name below the package: `store` for store/log.py, `wire` for wire.py."""
    return source.relative_to(PACKAGE).parts[0].removesuffix(".py")


def dotted(source: Path, node: ast.ImportFrom) -> str:
    """The absolute name of what a from-import imports from."""
    if not node.level:
        return node.module or ""
    folder = ("agentlip", *source.parent.relative_to(PACKAGE).parts)
    base = folder[: len(folder) - node.level + 1]
    return ".".join((*base, node.module) if node.module else base)


def imports(source: Path, text: str) -> Iterator[str]:
    """Absolute dotted names; for a from-import the module together with each name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{dotted(source, node)}.{alias.name}" for alias in node.names)


def wrong_imports(source: Path, text: str) -> list[str]:
    part = part_of(source)
    wrong = []
    for name in imports(source, text):
        root, _, rest = name.partition(".")
        inner = rest.partition(".")[0] or "__init__"
        upwards = root == "agentlip" and inner not in BELOW.get(part, {*BELOW, inner})
        if upwards or part not in HOMES.get(root, {part}):
            wrong.append(name)
    return wrong


def looked_up(text: str) -> Iterator[str]:
    """Strings given to a call or an index: modules imported or looked up by name."""
    for node in ast.walk(ast.parse(text)):
        values = node.args if isinstance(node, ast.Call) else [node.slice] if isinstance(node, ast.Subscript) else []
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def names_gevent(text: str) -> bool:
    """Whether code reaches for gevent; its name in prose, or in the list of loggers, is fine."""
    names = [*imports(PACKAGE / "x.py", text), *looked_up(text)]
    return any(re.fullmatch(r"gevent(\.\w+)*", name) for name in names)


@pytest.mark.parametrize("text", ["import gevent", "import gevent.monkey as m", "from gevent import spawn",
                                  "import_module('gevent')", "sys.modules['gevent.monkey']",
                                  "def f():\n    from gevent.hub import Waiter"])  # fmt: skip
def test_reaching_for_gevent_is_found(text: str) -> None:
    assert names_gevent(text)


def test_all_rings_are_there() -> None:
    assert {part_of(source) for source in SOURCES} >= GROUND | {
        "store",
        "hub",
        "commands",
        "server",
        "client",
        "cli",
        "__init__",
    }


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(PACKAGE)))
def test_a_file_imports_only_what_is_below_it(source: Path) -> None:
    assert wrong_imports(source, source.read_text()) == []


def test_no_files_import_each_other() -> None:
    """Not at any distance, nor for type checking; the face of a folder hands names on and does not count."""
    modules = {".".join(("agentlip", *source.relative_to(PACKAGE).with_suffix("").parts)): source for source in SOURCES}
    needs = {
        module: {found for name in imports(source, source.read_text())
                 for found in (name, name.rpartition(".")[0]) if found in modules and found != module}
        for module, source in modules.items()
        if source.name not in ("__init__.py", "__main__.py")
    }  # fmt: skip
    while free := {module for module, needed in needs.items() if not needed & needs.keys()}:
        needs = {module: needed for module, needed in needs.items() if module not in free}
    assert needs == {}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(PACKAGE)))
def test_gevent_is_named_only_in_the_seam(source: Path) -> None:
    assert not names_gevent(source.read_text()) or part_of(source) == "concurrency"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("wire.py", "from .store import log"),
        ("model.py", "import sqlite3"),
        ("config.py", "def f():\n    from flask import current_app"),
        ("store/log.py", "from ..hub.hub import Hub"),
        ("store/log.py", "from .. import hub"),
        ("store/log.py", "import agentlip"),
        ("store/log.py", "import agentlip.hub.hub"),
        ("hub/hub.py", "from sqlite3 import Connection"),
        ("hub/hub.py", "import flask.json"),
        ("hub/hub.py", "from agentlip.server import app"),
        ("hub/hub.py", "from ..commands.commands import Commands"),
        ("commands/log.py", "import flask"),
        ("commands/log.py", "from ..server import state"),
        ("hub/hub.py", "if TYPE_CHECKING:\n    from ..server.app import create_app"),
        ("server/http/events.py", "import sqlite3"),
        ("server/websocket/route.py", "import gevent"),
        ("client/client.py", "from ..store import store"),
        ("__init__.py", "import flask"),
    ],
)
def test_an_import_upwards_is_found(file: str, text: str) -> None:
    assert len(wrong_imports(PACKAGE / file, text)) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "store/log.py",
            "from .. import wire\nfrom ..model import Event\nfrom . import schema\nimport sqlite3, orjson",
        ),
        ("hub/hub.py", "from ..store.log import Entry\nfrom . import registry\nimport agentlip.wire"),
        (
            "server/http/events.py",
            "from ...store import log\nfrom ..access import auth\nfrom flask import request",
        ),
        ("__init__.py", "from .server.app import create_app"),
        ("concurrency/greenlets.py", "from gevent import spawn"),
    ],
)
def test_an_import_downwards_is_fine(file: str, text: str) -> None:
    assert wrong_imports(PACKAGE / file, text) == []


@pytest.mark.parametrize("ring", ["store", "hub"])
def test_frames_are_the_transports_own(ring: str) -> None:
    names = {"frame", "frames", "frame_ends", "close_frame"}
    for source in (PACKAGE / ring).glob("**/*.py"):
        used = {node.attr for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Attribute)}
        assert not used & names, source
