"""Expected failures: one sentence on standard error and an exit code, told in one place."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
# How torch says that memory was short where it has no class of its own for that
SHORTAGES = {"cpu": "DefaultCPUAllocator: ", "mps": "MPS backend out of memory"}
SMALLER = "use a smaller model, for example with a lower encoder.dim, or fewer or shorter series."


class Failure(Exception):
    """An expected failure, said in one sentence, with the exit code that it ends in."""

    def __init__(self, message: str, code: int = FAILURE) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def told(code: int = FAILURE) -> Iterator[None]:
    """Let the sentence of a ValueError stand, around calls that refuse what the user gave with one."""
    try:
        yield
    except ValueError as error:
        raise Failure(str(error), code) from error


def out_of_memory(error: Exception, advice: str | None = None) -> Failure | None:
    """Return what to say where a device's memory was short, with advice of one's own; None of any other error."""
    device = drained(error)
    if device is None:
        return None
    usual = SMALLER if device == "cpu" else f"choose --device cpu, or {SMALLER}"
    return Failure(f"{device} ran out of memory: {advice or usual}")


def drained(error: Exception) -> str | None:
    """Return the device whose memory was short."""
    if isinstance(error, MemoryError):  # Python's own, and NumPy's
        return "cpu"
    # the end of a command is a RuntimeError, too, and need not wait for torch
    if not isinstance(error, RuntimeError) or "torch" not in sys.modules:
        return None
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return "cuda"
    return next((device for device, words in SHORTAGES.items() if words in str(error)), None)


def unwritten(error: Exception) -> Failure | None:
    """Return what to say where standard output cannot be written to, and give the rest of it up; None of other errors.

    A pipe that nobody reads any more is left to typer, which ends in silence.
    """
    if not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
        return None
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open to the end
    return Failure(f"standard output cannot be written to ({error.strerror or error}): send it elsewhere.")


def exit_code(error: Exception) -> int | None:
    """Return the exit code of an expected failure, and None for anything else."""
    if isinstance(error, Failure):
        return error.code
    if not isinstance(error, ValueError):
        return None
    # the library's own errors are looked up only now: a usage error need not wait for torch
    from tsjepa.checkpoint import CheckpointError
    from tsjepa.config import ConfigError
    from tsjepa.datasets import DataError
    from tsjepa.probe import ProbeError
    from tsjepa.run_files import TableError

    if isinstance(error, ConfigError):
        return USAGE
    return FAILURE if isinstance(error, CheckpointError | DataError | ProbeError | TableError) else None


def flag_fault(error: typer.BadParameter) -> str:
    """Return what is wrong with the value of a flag, in the words that a setting's is told in."""
    from pydantic import ValidationError

    from tsjepa.config import fault

    cause = error.__cause__
    return fault(cause.errors()[0]) if isinstance(cause, ValidationError) else error.message


def say(message: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(" ".join(message.split()) + "\n")
    sys.stderr.flush()


class SentenceGroup(TyperGroup):
    """Commands whose expected failures end in a sentence; anything else is a defect and keeps its traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line, whose help is written before there is a command to invoke."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            say(f"error: {unwritten(error)}")
            sys.exit(FAILURE)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # what cannot be written is told here, and not as the process ends
            return result
        except KeyboardInterrupt:
            say("stopped.")
            raise typer.Exit(INTERRUPTED) from None
        except typer.BadParameter as error:
            error.message = flag_fault(error)
            raise
        except Exception as error:
            found = out_of_memory(error) or unwritten(error) or error
            code = exit_code(found)
            if code is None:
                raise
            say(str(found) if code == INTERRUPTED else f"error: {found}")
            raise typer.Exit(code) from None
