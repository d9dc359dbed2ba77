"""Flags that stand on a class of options, and the commands that are made of them."""

from functools import partial
from typing import Annotated, NamedTuple

import pytest
import typer
from typer.testing import CliRunner, Result

from tsjepa.cli.arguments import Layers, parse_fractions, parse_layers
from tsjepa.cli.command import Show, with_flags
from tsjepa.cli.log_options import LogOptions


class Options(NamedTuple):
    case: Annotated[str, typer.Argument()]
    shares: Annotated[tuple[float, ...], typer.Option("--labels"), parse_fractions] = (1.0,)
    names: Annotated[tuple[str, ...], typer.Option(), tuple] = ()
    layers: Annotated[Layers | None, typer.Option(), parse_layers] = None
    low: Annotated[int, typer.Option(min=1)] = 3
    high: Annotated[int, typer.Option()] = 4
    logs: LogOptions = LogOptions()


def show(high: int, as_json: bool) -> None:
    typer.echo(high if as_json else "high")


def called(*words: str) -> tuple[Result, list[Options]]:
    """Call a command of `Options`, and return what came out beside what it was given."""
    given, alone = [], typer.Typer()

    @alone.command()
    @with_flags
    def command(options: Options) -> Show | None:
        """Show how high it is, unless that is 0."""
        given.append(options)
        typer.echo("a library's remark")
        return partial(show, options.high) if options.high else None

    return CliRunner().invoke(alone, list(words)), given


def test_fields_have_their_own_defaults_where_no_flag_is_given() -> None:
    assert called("pump")[1] == [Options("pump")]


def test_each_flag_gets_to_its_field() -> None:
    words = "--high 8 --labels 1,0.5 --labels 0.1 --names a,b --names c --layers 2 --low 7 --window 60 --channels x,y"
    expected = Options("pump", (0.1, 0.5, 1.0), ("a,b", "c"), 2, 7, 8, LogOptions(window="60", channels="x,y"))
    assert called("pump", *words.split())[1] == [expected]


@pytest.mark.parametrize(("words", "shown"), [((), "high\n"), (("--json",), "4\n"), (("--high", "0"), "")])
def test_standard_output_has_what_a_command_returns_alone(words: tuple[str, ...], shown: str) -> None:
    result, _ = called("pump", *words)
    assert (result.exit_code, result.stdout, result.stderr) == (0, shown, "a library's remark\n")


@pytest.mark.parametrize(
    ("words", "flag"), [(("--low", "0", "--labels", "2"), "--low"), (("--layers", "x", "--labels", "2"), "--labels")]
)
def test_texts_are_read_after_typer_and_in_the_order_of_the_fields(words: tuple[str, ...], flag: str) -> None:
    result, given = called("pump", *words)
    assert (result.exit_code, given) == (2, [])
    assert f"Invalid value for {flag}" in result.stderr.replace("'", "")
