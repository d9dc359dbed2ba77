"""The same architecture trained end to end on the labels, briefly: what the others' curves are held against."""

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa.arrays import Series
from tsjepa.batches import ShuffledBatches
from tsjepa.embedding import pool
from tsjepa.encoder import Encoder
from tsjepa.evaluation.accuracy import Labels, take

EPOCHS, BATCH, RATE = 20, 32, 1e-3


def train_supervised(encoder: Encoder, series: Series, y: Labels, *, seed: int = 0, epochs: int = EPOCHS) -> Encoder:
    """Train a copy of an encoder with a linear head on the mean token of its last level, by cross-entropy.

    Parameters
    ----------
    encoder : Encoder
        Where training begins, on the device to train on; left as it is.
    series : Series
    y : int array of shape (n_cases,)
        Classes.
    seed : int, default=0
        Of the order of the series.
    epochs : int, default=20

    Returns
    -------
    Encoder
        In evaluation mode.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    >>> series = Series(np.random.default_rng(0).normal(size=(8, 1, 20)).astype(np.float32))
    >>> train_supervised(encoder, series, np.arange(8) % 2, epochs=1).training
    False
    """
    classes, codes = np.unique(y, return_inverse=True)
    trained = copy.deepcopy(encoder).train()
    device = next(trained.parameters()).device
    head = nn.Linear(encoder.dim * series.n_channels // encoder.channels, len(classes), device=device)
    nn.init.zeros_(head.weight)  # so that nothing is drawn, and the first steps fit the head alone
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW([*trained.parameters(), *head.parameters()], lr=RATE, weight_decay=0.01)
    order = ShuffledBatches(series.n_cases, BATCH, seed)
    for epoch in range(epochs):
        order.set_epoch(epoch)
        for index in order:
            goal = torch.from_numpy(codes)[index].to(device)
            loss = F.cross_entropy(head(mean_tokens(trained, take(series, index.numpy()), device)), goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return trained.eval()


def mean_tokens(encoder: Encoder, series: Series, device: torch.device) -> Tensor:
    """Return the mean tokens of the last level [n_cases, C * D], zeros for a channel without any value."""
    shape = (-1, encoder.channels, series.n_timepoints)
    x = torch.from_numpy(series.values.reshape(shape)).to(device)
    if series.valid is None:
        return encoder(x)[0].mean(1).reshape(series.n_cases, -1)
    valid = torch.from_numpy(series.valid.reshape(shape)).to(device)
    attend = encoder.token_valid(valid)
    (last,) = encoder(x, valid=valid, attend=attend)
    return pool(last, attend, "mean").reshape(series.n_cases, -1)
