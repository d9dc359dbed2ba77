"""The scikit-learn way: an estimator that learns embeddings of series without labels."""

from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tsjepa.arrays import Series, as_series, remarks
from tsjepa.build import OBJECTIVES, build_model, resolve
from tsjepa.checkpoint import Header, load_checkpoint, save_checkpoint
from tsjepa.config import Config, ConfigError, load_config
from tsjepa.embedding import embed, feature_names
from tsjepa.objective import JEPA
