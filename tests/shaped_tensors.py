"""Tensors of a type that says their shape and nothing else, as those that Ray keeps in Arrow's tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray


class Shaped(pa.ExtensionType):
    def __init__(self, shape: tuple[int, ...], value_type: pa.DataType) -> None:
        self.shape = shape
        super().__init__(pa.list_(value_type), "tests.shaped")

    def __arrow_ext_serialize__(self) -> bytes:
        return ",".join(map(str, self.shape)).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.ListType, serialized: bytes) -> "Shaped":
        return cls(tuple(map(int, serialized.split(b","))), storage.value_type)


def shaped(X: NDArray[Any], shape: tuple[int, ...] | None = None) -> pa.ExtensionArray:
    """Return the cases of an array as tensors, of a shape that may be another one than theirs."""
    kind = Shaped(shape or X.shape[1:], pa.from_numpy_dtype(X.dtype))
    return pa.ExtensionArray.from_storage(kind, pa.array(X.reshape(len(X), -1).tolist(), kind.storage_type))


@contextmanager
def registered() -> Iterator[None]:
    """Let files be read with the type, which is a list to those who do not know it."""
    pa.register_extension_type(Shaped((), pa.float32()))
    try:
        yield
    finally:
        pa.unregister_extension_type("tests.shaped")
