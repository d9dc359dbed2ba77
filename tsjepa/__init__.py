"""Joint-embedding predictive pretraining for time series and sensors.

The public names load on first use, so that importing the package is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsjepa.arrays import DataWarning, Series, as_series
    from tsjepa.build import build_model, configure, resolve
    from tsjepa.checkpoint import CheckpointError, Header, load_checkpoint, save_checkpoint
    from tsjepa.classifier import TSJEPAClassifier
    from tsjepa.config import Config, ConfigError, load_config, recipe_names
    from tsjepa.detect import SurpriseDetector
    from tsjepa.embedder import CollapseWarning, TSJEPAEmbedder
    from tsjepa.encoder import Encoder
    from tsjepa.history import EpochDiagnostics
    from tsjepa.masking import Mask, RampedMask, bernoulli_mask, block_mask, future_mask, random_mask
    from tsjepa.objective import JEPA, ContextLoss, JEPAOutput
    from tsjepa.predictor import Predictor
    from tsjepa.projector import Projector
    from tsjepa.record import epoch_diagnostics
    from tsjepa.regularizers import Regularizer, SIGReg, VICReg, VISReg
    from tsjepa.targets import EMATarget, FrozenTarget, Momentum, SelfTarget, Target, ValuesTarget
    from tsjepa.tokenizers import ConvStem, LinearPatches, SpectralPatches
    from tsjepa.training import Options, fit, fit_stages
    from tsjepa.training_error import TrainingError
    from tsjepa.verdict import Verdict, judge

__version__ = "0.1.0"

_HOMES = {
    "arrays": ("DataWarning", "Series", "as_series"),
    "build": ("build_model", "configure", "resolve"),
    "checkpoint": ("CheckpointError", "Header", "load_checkpoint", "save_checkpoint"),
    "classifier": ("TSJEPAClassifier",),
    "config": ("Config", "ConfigError", "load_config", "recipe_names"),
    "detect": ("SurpriseDetector",),
    "embedder": ("CollapseWarning", "TSJEPAEmbedder"),
    "encoder": ("Encoder",),
    "history": ("EpochDiagnostics",),
    "masking": ("Mask", "RampedMask", "bernoulli_mask", "block_mask", "future_mask", "random_mask"),
    "objective": ("JEPA", "ContextLoss", "JEPAOutput"),
    "predictor": ("Predictor",),
    "projector": ("Projector",),
    "record": ("epoch_diagnostics",),
    "regularizers": ("Regularizer", "SIGReg", "VICReg", "VISReg"),
    "targets": ("EMATarget", "FrozenTarget", "Momentum", "SelfTarget", "Target", "ValuesTarget"),
    "tokenizers": ("ConvStem", "LinearPatches", "SpectralPatches"),
    "training": ("Options", "fit", "fit_stages"),
    "training_error": ("TrainingError",),
    "verdict": ("Verdict", "judge"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
# public as modules: no part of `__all__`, since `import *` would load them
_MODULES = (
    "adapters",
    "bounds",
    "containers",
    "datasets",
    "diagnostics",
    "gaussianity",
    "planning",
    "positional",
    "spread",
)

# spelled out, so that type checkers can read it
__all__ = [
    "JEPA",
    "CheckpointError",
    "CollapseWarning",
    "Config",
    "ConfigError",
    "ContextLoss",
    "ConvStem",
    "DataWarning",
    "EMATarget",
    "Encoder",
    "EpochDiagnostics",
    "FrozenTarget",
    "Header",
    "JEPAOutput",
    "LinearPatches",
    "Mask",
    "Momentum",
    "Options",
    "Predictor",
    "Projector",
    "RampedMask",
    "Regularizer",
    "SIGReg",
    "SelfTarget",
    "Series",
    "SpectralPatches",
    "SurpriseDetector",
    "TSJEPAClassifier",
    "TSJEPAEmbedder",
    "Target",
    "TrainingError",
    "VICReg",
    "VISReg",
    "ValuesTarget",
    "Verdict",
    "__version__",
    "as_series",
    "bernoulli_mask",
    "block_mask",
    "build_model",
    "configure",
    "epoch_diagnostics",
    "fit",
    "fit_stages",
    "future_mask",
    "judge",
    "load_checkpoint",
    "load_config",
    "random_mask",
    "recipe_names",
    "resolve",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*__all__, *_MODULES))
