"""Files that are there whole or not at all."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Failures of a write for want of space, which name no file
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, and what was written under it the name `path` when the block is done.

    When the block fails, what stood at `path` is there as before, and the temporary file is gone.

    Parameters
    ----------
    path : Path

    Yields
    ------
    Path

    Raises
    ------
    OSError
        If nothing was written under the temporary name, or the file cannot be given its own. Where a write found no
        space, the error names `path`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "numbers.csv"
    >>> with whole_file(path) as temporary:
    ...     written = temporary.write_text("1,2")
    >>> path.read_text(), temporary.exists()
    ('1,2', False)
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
