"""Libraries that only some commands need, named in a sentence where they are missing."""

from importlib.util import find_spec

from tsjepa.cli.errors import Failure

EXTRAS = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "ray": ("ray",), "spark": ("pyspark",)}


def require_extra(extra: str, what: str) -> None:
    """Refuse to go on where a library of an extra is not installed.

    Raises
    ------
    Failure
        If one is missing.
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise Failure(f"{what} needs {', '.join(missing)}: install with pip install 'tsjepa[{extra}]'.")
