"""How a class of options becomes a command: its fields are the flags, and standard output is for the result alone."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any, get_origin, get_type_hints

import typer

from tsjepa.cli.errors import Failure
from tsjepa.cli.log_options import LogOptions

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Show = Callable[[bool], None]


def with_flags(command: Callable[[Any], Show | None]) -> Callable[..., None]:
    """Give a command the fields of its class of options as flags; what it returns prints the result, as JSON or not.

    Typer reads flags off a signature: the fields stand there in the place of `options`, those of a log last.
    """
    options = get_type_hints(command)["options"]
    logs = flags_of(LogOptions) if "logs" in options._fields else []

    @functools.wraps(command)
    def run(as_json: bool, **values: Any) -> None:
        given = options_from(options, values)
        with results_only():
            show = command(given)
        if show is not None:
            show(as_json)

    as_json = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    run.__signature__ = inspect.Signature([*flags_of(options), as_json, *logs])  # type: ignore[attr-defined]
    return run


def flags_of(options: Any) -> list[inspect.Parameter]:
    """Return the fields of a class of options, but for `logs`, as typer takes them.

    A function behind a field's declaration reads the field from text, or from a list of texts where it is a tuple.
    """
    flags = []
    for name, hint in get_type_hints(options, include_extras=True).items():
        if name == "logs":
            continue
        default = options._field_defaults.get(name, inspect.Parameter.empty)
        declared, *readers = hint.__metadata__
        if readers:
            text: Any = list[str] if get_origin(hint.__origin__) is tuple else str
            hint, default = Annotated[text | None, declared], None
        flags.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint))
    return flags


def options_from(options: Any, values: Mapping[str, Any]) -> Any:
    """Return the options of what typer read; a flag that is not given is None there, and leaves its field's default."""
    fields = {}
    for name, hint in get_type_hints(options, include_extras=True).items():
        if name == "logs":
            fields[name] = options_from(LogOptions, values)
        elif values[name] is not None:
            _, *readers = hint.__metadata__
            fields[name] = readers[0](values[name]) if readers else values[name]
    return options(**fields)


@contextmanager
def results_only() -> Iterator[None]:
    """Keep standard output for the result: whatever a library prints meanwhile goes to standard error.

    What the system refuses meanwhile is no fault of standard output, as it is for `SentenceGroup` later.
    """
    with redirect_stdout(sys.stderr):
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failure(str(error)) from error
