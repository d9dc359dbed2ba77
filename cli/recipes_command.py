"""The flags of `tsjepa recipes`; nothing heavy is imported before it runs."""

import json
from typing import Annotated

import typer

from tsjepa.cli.command import Json


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME|FILE.yaml", help="Print all settings of one, or of a file of your own, as YAML."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes that --config takes by name, or print one: the start of a file of your own."""
    from tsjepa.config import dump_config, load_config, recipe_descriptions

    if name is None:
        found = recipe_descriptions()
        width = max(map(len, found))
        typer.echo(json.dumps(found) if as_json else "\n".join(f"{key:{width}} {text}" for key, text in found.items()))
    elif as_json:
        typer.echo(json.dumps(load_config(name).model_dump(mode="json")))
    else:
        typer.echo(dump_config(load_config(name)), nl=False)
