"""Training of an encoder together with a linear head on labels: fine-tuning, and supervised training from scratch."""

import copy
import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa.arrays import Series
from tsjepa.batches import Batches, ShuffledBatches
from tsjepa.embedding import embed, embed_sequences, join_rows, places
from tsjepa.encoder import Encoder
from tsjepa.heads import Floats, LinearHead, fit_linear_head
from tsjepa.normalization import level_and_scale
from tsjepa.precision import fast_float32
from tsjepa.probe import Array
from tsjepa.schedule import lr_factor
from tsjepa.sections import ProbeConfig


class Tuning(NamedTuple):
    """How encoder and head are trained: AdamW, linear warm-up, then a cosine to zero.

    Attributes
    ----------
    epochs : int
        Passes over the labelled series.
    lr : float
        Largest learning rate of the head.
    encoder_factor : float
        Learning rate of the encoder, as a share of the head's.
    batch_size : int
    weight_decay : float
        Of matrices, filters and registers; biases, norms and other vectors have none.
    warmup : float
        Share of the steps.
    clip : float
        Largest norm of the gradient.
    min_steps : int
        With few labels a pass is a step or two: as many passes are made as this many steps need.
    probed : bool
        Whether the head begins as the ridge probe; else at zero. With more features than labelled series a probe fits
        them all, which leaves nearly no gradient: weights that are random would stay so.
    """

    epochs: int = 20
    lr: float = 1e-3
    encoder_factor: float = 0.1
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip: float = 1.0
    min_steps: int = 100
    probed: bool = True


DEFAULT = Tuning()
# Random weights have nothing to keep: they learn at the rate of the head, and as long from a handful of labels, which
# are a step a pass, as from hundreds
FROM_SCRATCH = Tuning(encoder_factor=1.0, min_steps=500)


class Tuned(NamedTuple):
    """An encoder in evaluation mode, and the head on its embeddings."""

    encoder: Encoder
    head: LinearHead


class EncoderClassifier(nn.Module):
    """An encoder with a linear head on its standardised embedding, both with gradient.

    Parameters
    ----------
    encoder : Encoder
    probe : ProbeConfig
        How tokens become one embedding a series.
    head : LinearHead
        Where the head begins; standardisation stays what it is.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder, probe = Encoder(LinearPatches(5, 4), depth=1, heads=1), ProbeConfig(pool=("mean",))
    >>> head = LinearHead(np.array(["a", "b"]), np.zeros(8), np.ones(8), np.zeros((2, 8)), *np.zeros((2, 2)))
    >>> EncoderClassifier(encoder, probe, head)(torch.randn(3, 1, 20)).shape
    torch.Size([3, 2])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, encoder: Encoder, probe: ProbeConfig, head: LinearHead) -> None:
        super().__init__()
        self.encoder, self.probe, self.start = encoder, probe, head
        self.register_buffer("mean", torch.from_numpy(head.mean).float())
        self.register_buffer("scale", torch.from_numpy(head.scale).float())
        self.linear = nn.utils.skip_init(nn.Linear, len(head.mean), len(head.classes))  # nothing is drawn
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(head.weight))
            self.linear.bias.copy_(torch.from_numpy(head.bias))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the logits [B, n_classes] of series [B, C, T]."""
        return self.linear((embed_batch(self.encoder, x, valid, self.probe) - self.mean) / self.scale)

    def head(self) -> LinearHead:
        """Return the head as it is now."""
        weight, bias = (part.detach().cpu().double().numpy() for part in (self.linear.weight, self.linear.bias))
        return self.start._replace(weight=weight, bias=bias)


def embed_batch(encoder: Encoder, x: Tensor, valid: Tensor | None, probe: ProbeConfig) -> Tensor:
    """Return the embeddings [B, F] of series [B, C, T] with gradient: those of `embedding.embed`, up to rounding.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    >>> embed_batch(encoder, torch.randn(3, 2, 20), None, ProbeConfig(pool=("mean",))).shape
    torch.Size([3, 16])
    """
    n_cases = x.shape[0]  # len(x) would be a constant in an exported graph
    x, valid = encoder.sequences(x, valid)
    measured = torch.ones_like(x[:, 0, 0], dtype=torch.bool) if valid is None else valid.any(-1).any(-1)
    rows = embed_sequences(encoder, x, valid, probe, places(encoder, n_cases, x))
    if probe.scale_features and probe.sketch is None:
        rows = torch.cat([rows, level_and_scale(x, valid)], 1)
    rows = torch.where(measured[:, None], rows, 0.0)
    return join_rows(rows.unflatten(0, (n_cases, -1)), measured.unflatten(0, (n_cases, -1))[..., None], probe)


def finetune(
    encoder: Encoder,
    series: Series,
    y: Array,
    probe: ProbeConfig,
    tuning: Tuning = DEFAULT,
    *,
    device: str | torch.device = "cpu",
    seed: int = 0,
    weights: Floats | None = None,
) -> Tuned:
    """Train a copy of an encoder together with a linear head by cross-entropy.

    The head begins as the ridge probe on the frozen embeddings, so that training begins at its accuracy and the first
    gradients do not spoil the features (linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054), unless
    `tuning` says otherwise.
    With an untrained encoder and `FROM_SCRATCH` this is supervised training of the same architecture.

    Parameters
    ----------
    encoder : Encoder
        Where training begins; left as it is.
    series : Series
        The labelled series; those without any value are not trained on.
    y : array of shape (n_cases,)
        Two classes or more.
    probe : ProbeConfig
        How tokens become one embedding a series.
    tuning : Tuning, optional
    device : str or torch.device, default="cpu"
        Where to train.
    seed : int, default=0
        Of the order of the series.
    weights : array of shape (n_classes,), optional
        How much a label of each class counts, see `tsjepa.heads.weigh_classes`.

    Returns
    -------
    Tuned
        On the CPU.

    Raises
    ------
    ValueError
        If there is not one label a series, of two classes or more, and one weight a class, if no series holds a value,
        or training diverges.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1).eval()
    >>> series = Series(np.random.default_rng(0).normal(size=(8, 1, 20)).astype(np.float32))
    >>> tuned = finetune(encoder, series, np.arange(8) % 2, ProbeConfig(), Tuning(epochs=1, min_steps=1))
    >>> tuned.head.classes
    array([0, 1])
    """
    check_labelled(series, y, weights)
    trained = copy.deepcopy(encoder).to(device)
    head = fit_linear_head(embed(trained, series, probe, device), y, seed=seed, weights=weights)
    if not tuning.probed:
        head = head._replace(weight=np.zeros_like(head.weight), bias=np.zeros_like(head.bias))
    module = EncoderClassifier(trained, probe, head).to(device)
    train(module, series, np.searchsorted(head.classes, y), tuning, seed, weights)
    if not all(torch.isfinite(parameter).all() for parameter in module.parameters()):
        raise ValueError("fine-tuning diverged: its weights are not finite. Choose a smaller learning rate.")
    return Tuned(module.encoder.cpu().eval(), module.head())


def check_labelled(series: Series, y: Array, weights: Floats | None) -> None:
    """Raise ValueError unless each series has a label, of two classes or more, and each class a weight, if any has.

    A series without any value may be among them, but not all may be.
    """
    if np.shape(y) != (series.n_cases,):
        raise ValueError(f"labels have shape {np.shape(y)}, for {series.n_cases} series: give each one label.")
    n_classes = len(np.unique(y))
    if n_classes < 2:
        raise ValueError(f"the labels hold {n_classes} class(es), and fine-tuning needs two or more.")
    if weights is not None and np.shape(weights) != (n_classes,):
        raise ValueError(f"weights have shape {np.shape(weights)}, for {n_classes} classes: give each one weight.")
    if not len(series.measured()):
        raise ValueError("no series holds a single value, so there is nothing to train on.")


@torch.enable_grad()
@fast_float32()
def train(
    module: EncoderClassifier,
    series: Series,
    codes: NDArray[np.int64],
    tuning: Tuning,
    seed: int,
    weights: Floats | None = None,
) -> None:
    """Train in place, on the device of the module; `codes` [n_cases] number the classes, `weights` are theirs."""
    batches = Batches(series)
    order = ShuffledBatches(len(batches), tuning.batch_size, seed)
    epochs = max(tuning.epochs, math.ceil(tuning.min_steps / len(order)))
    optimizer = make_optimizer(module, tuning)
    factor = partial(lr_factor, total=epochs * len(order), warmup=tuning.warmup)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    device, goals = module.mean.device, torch.from_numpy(codes[batches.cases])
    counted = None if weights is None else torch.from_numpy(weights).float().to(device)
    module.train()
    for epoch in range(epochs):
        order.set_epoch(epoch)
        for index in order:
            x, valid, _ = batches[index].to(device)
            logits = module(x, valid)
            optimizer.zero_grad()
            F.cross_entropy(logits, goals[index].to(device), counted).backward()
            nn.utils.clip_grad_norm_(module.parameters(), tuning.clip)
            optimizer.step()
            schedule.step()


def make_optimizer(module: EncoderClassifier, tuning: Tuning) -> torch.optim.Optimizer:
    """Return AdamW whose encoder has a learning rate of its own."""
    groups = [
        {"params": [p for p in part.parameters() if (p.ndim > 1) == decayed], "lr": lr, "weight_decay": decay}
        for part, lr in ((module.encoder, tuning.lr * tuning.encoder_factor), (module.linear, tuning.lr))
        for decayed, decay in ((True, tuning.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, fused=module.mean.device.type in ("cpu", "cuda"))
