"""`agentlip init`: make a workspace."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ...config import Settings
from ...store.database import Database
from ...workspace.finding import DATABASE, FOLDER, check_not_lost
from ...workspace.folder import prepare_folder
from ...workspace.small_file import check_writable
from ...workspace.token import load_or_make_token
from ..support.context import Context
from ..support.output import json_value


def make_workspace(settings: Settings, new: bool = False) -> bool:
    """Make what is missing of the folder, the database and the token; returns whether the database is new.

    Blocks on the disk. Raises ConfigError or StorageError, each with one line for a human; also when the workspace had
    a database that is gone, unless a `new` one is wanted.
    """
    if not new:
        check_not_lost(settings.db)
    is_new = not settings.db.exists()
    prepare_folder(settings.db.parent)
    check_writable(settings.db.parent)
    Database(settings.db, settings.synchronous).prepare()
    if settings.auth_token is None:  # last: a token tells that there was a database
        load_or_make_token(settings.db.parent)
    return is_new


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--new", is_flag=True, help="Make an empty database even if an old one is gone.")
@click.pass_obj
def init(context: Context, folder: Path | None, new: bool) -> None:
    """Make a workspace in DIR, or here.

    A workspace is a folder .agentlip with a database and a token. Running this again changes nothing.
    """
    root = (folder or Path(context.workspace or ".")).expanduser().absolute()
    database = root / FOLDER / DATABASE
    is_new = make_workspace(Settings.load({**os.environ, "AGENTLIP_DB": str(database)}), new)
    if context.as_json:
        json_value({"workspace": str(root), "database": str(database), "created": is_new})
        return
    if is_new:
        click.echo(f"Made a workspace: {database.parent}")
    else:
        click.echo(f"Already a workspace: {database.parent}")
    click.echo("Run its hub with `agentlip up`, or in the background with `agentlip up --detach`.")
