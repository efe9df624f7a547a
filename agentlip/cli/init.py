"""`agentlip init`: make a workspace."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..config import Settings
from ..store.database import Database
from ..workspace import DATABASE, FOLDER, check_writable, load_or_make_token, prepare_folder
from .context import Context
from .output import json_value


def make_workspace(settings: Settings) -> bool:
    """Make what is missing of the folder, the token and the database; returns whether the database is new.

    Blocks on the disk. Raises ConfigError or StorageError, each with one line for a human.
    """
    is_new = not settings.db.exists()
    prepare_folder(settings.db.parent)
    check_writable(settings.db.parent)
    if settings.auth_token is None:
        load_or_make_token(settings.db.parent)
    Database(settings.db, settings.synchronous).prepare()
    return is_new


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.pass_obj
def init(context: Context, folder: Path | None) -> None:
    """Make a workspace in DIR, or here.

    That is a folder .agentlip with a database and a token. Doing it again changes nothing.
    """
    root = (folder or Path(context.workspace or ".")).expanduser().absolute()
    database = root / FOLDER / DATABASE
    is_new = make_workspace(Settings.load({**os.environ, "AGENTLIP_DB": str(database)}))
    if context.as_json:
        json_value({"workspace": str(root), "database": str(database), "created": is_new})
        return
    if is_new:
        click.echo(f"Made a workspace: {database.parent}")
    else:
        click.echo(f"A workspace already: {database.parent}")
    click.echo("Run its hub with `agentlip up`, or in the background with `agentlip up --detach`.")
