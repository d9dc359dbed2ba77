"""Every data source of tsjepa."""

if __name__ == "datasets":  # the repository's root is on sys.path and hides the package of that name
    raise ImportError("this folder is tsjepa.datasets; run from another folder, or use python -P")

from tsjepa.datasets.dataset import DataError, Dataset
from tsjepa.datasets.loading import load

__all__ = ["DataError", "Dataset", "load"]
