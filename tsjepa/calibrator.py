"""Let the readout of an encoder know its training series: where they lie, and what is not to count in them."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tsjepa.arrays import SeriesSource
from tsjepa.embedding import HELD, batch_places, batches, chosen_levels, level_rows, places, sequences, some_cases
from tsjepa.encoder import Encoder, normalized
from tsjepa.level_weights import block_weights, signal
from tsjepa.normalization import level_and_scale
from tsjepa.precision import fast_float32
from tsjepa.sections import ProbeConfig
from tsjepa.threads import threads
from tsjepa.whitening import scatter_within

# Series, all their channels, that a sketch is calibrated on
SAMPLE = 128


class View(NamedTuple):
    """A batch of sequences [B, C, T], which points were measured, and which tokens [B, N] hold one; None means all."""

    x: Tensor
    valid: Tensor | None
    attend: Tensor | None

    def to(self, device: str | torch.device) -> "View":
        """Return it on a device."""
        valid, attend = (None if part is None else part.to(device) for part in (self.valid, self.attend))
        return View(self.x.to(device), valid, attend)


class Batch(NamedTuple):
    """Some sequences as they are and at other speeds, the same with noise where that is compared, how many count.

    Then where in their series they stand, see `tsjepa.embedding.places`, and which of a series' sequences each one is.
    """

    views: list[View]
    noisy: View | None
    n: int
    place: Tensor
    channel: Tensor

    def to(self, device: str | torch.device) -> "Batch":
        """Return it on a device."""
        noisy = None if self.noisy is None else self.noisy.to(device)
        views = [view.to(device) for view in self.views]
        return Batch(views, noisy, self.n, self.place.to(device), self.channel.to(device))


class Block(NamedTuple):
    """One block of features of some series: their rows [n, F], and how patches, or speeds, and noise scatter them."""

    rows: Tensor
    scatters: list[tuple[Tensor, int]]


class Calibrator:
    """Measures the sketch of an encoder, where it has one, on a fixed sample of training series, again and again.

    Shares, and levels and scales of channels, do not change while an encoder is trained: they are measured once.

    Parameters
    ----------
    encoder : Encoder
        It is measured in evaluation mode, and left in the one that it was in.
    source : SeriesSource
        Training series, of which SAMPLE with a value are looked at, fewer of very long ones, always the same; without
        any, nothing is measured.
    probe : ProbeConfig
    whiten : bool, default=True
        Whether to learn what patches, or speeds, disagree on, too (`tsjepa.whitening`), and by that how much levels
        count (`tsjepa.level_weights`). That is a part of pretraining: an untrained encoder is read without.

    Examples
    --------
    >>> import numpy as np
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.build import build_model, configure, resolve
    >>> config = resolve(configure("tiny", None, ["probe.shares=true", "probe.sketch=64"]), 60)
    >>> encoder = build_model(config, 1).encoder
    >>> Calibrator(encoder, as_series(np.random.default_rng(0).normal(size=(9, 60))), config.probe)("cpu")
    >>> encoder.readout.sketch.known
    True
    """

    def __init__(self, encoder: Encoder, source: SeriesSource, probe: ProbeConfig, *, whiten: bool = True) -> None:
        self.encoder, self.source, self.probe, self.whiten = encoder, source, probe, whiten and probe.whiten
        self.sketch = None if encoder.readout is None else encoder.readout.sketch
        self.shares: list[Block] = []
        self.scaled: list[Block] = []

    def __call__(self, device: str | torch.device) -> None:
        """Measure the sketch, with the encoder on a device."""
        if self.sketch is None or not self.sample:
            return
        training = self.encoder.training
        self.encoder.eval()
        with torch.inference_mode(), fast_float32():
            placed = [batch.to(device) for batch in self.sample]
            if self.probe.shares and not self.shares:
                self.shares = [joined([self.share_block(batch) for batch in placed])]
                self.sketch.whiten(0, [combined(block) for block in self.shares])
            own = [joined(parts) for parts in zip(*map(self.blocks, placed), strict=True)]
            with threads(1):  # of matrices as small as these a second thread takes longer to wake than it saves
                self.sketch.whiten(len(self.shares), [combined(block) for block in own])
                self.scaled = self.scaled or self.scale_blocks(placed)
                blocks = self.shares + own + self.scaled
                rows = torch.cat([block.rows.to(device) for block in blocks], 1)  # some were measured on another one
                weights = block_weights(self.probe, len(blocks), self.source.n_cases, self.signals(placed, own))
                self.sketch.measure(rows, weights, [self.encoder.channels**0.5] * 2 * self.probe.scale_features)
        self.encoder.train(training)

    @cached_property
    def sample(self) -> list[Batch]:
        """The sample, as the encoder reads series: only when it is called for it may know by which statistics."""
        wanted = min(SAMPLE, max(HELD // (self.source.n_channels * self.source.n_timepoints), 2))
        measured = self.source.measured()
        cases = measured[some_cases(len(measured), wanted)]
        values, valid = sequences(self.encoder, self.source.take(cases))
        place = places(self.encoder, len(cases), torch.from_numpy(values))
        channel = torch.arange(len(values) // max(len(cases), 1)).repeat(len(cases))
        generator, found = torch.Generator().manual_seed(0), []
        for index, x, there in batches(self.encoder, values, valid):
            noisy = self.with_noise(x, there, generator)
            own = (batch_places(which, index, len(x)) for which in (place, channel))
            found.append(Batch(self.views(x, there), noisy, len(index), *own))
        return found

    @property
    def by_patches(self) -> bool:
        """Whether it is learned what patches, rather than speeds, disagree on."""
        return self.whiten and self.probe.stretch is None

    def views(self, x: Tensor, valid: Tensor | None) -> list[View]:
        """Return a batch as it is, and at `probe.stretch` times its speed and at its inverse where that is compared."""
        views = [self.view(x, valid)]
        if self.whiten and self.probe.stretch is not None:
            patch = self.encoder.tokenizer.patch_length
            x = normalized(x, valid, self.encoder.normalize, patch)  # gaps are bridged
            for factor in (1 / self.probe.stretch, self.probe.stretch):
                views.append(self.view(*played(x, valid, factor, patch)))
        return views

    def with_noise(self, x: Tensor, valid: Tensor | None, generator: torch.Generator) -> View | None:
        """Return a batch with white noise of `probe.noise` times each sequence's deviation where that is compared."""
        if not self.whiten or self.probe.noise is None:
            return None
        x = normalized(x, valid, self.encoder.normalize, self.encoder.tokenizer.patch_length)  # gaps are bridged
        deviation = level_and_scale(x, valid)[:, 1::2, None].exp()
        noise = torch.randn(x.shape, generator=generator)
        return self.view(x + self.probe.noise * deviation * noise, valid)

    def view(self, x: Tensor, valid: Tensor | None) -> View:
        """Return a batch with which of its tokens count."""
        return View(x, valid, self.encoder.token_valid(valid))

    def share_block(self, batch: Batch) -> Block:
        """Return the shares of a batch."""
        views, noisy, n, *_ = batch
        speeds = [self.encoder.shares(view.x, view.valid)[:n] for view in views]
        patches = self.encoder.shares(views[0].x, views[0].valid, of_patches=True) if self.by_patches else None
        return block_of(speeds, patches, batch, None if noisy is None else self.encoder.shares(noisy.x, noisy.valid))

    def blocks(self, batch: Batch) -> list[Block]:
        """Return the blocks of tokens of a batch, one a level."""
        views, noisy, n, *_ = batch
        chosen, found = chosen_levels(self.encoder, self.probe), []
        everything = views if noisy is None else [*views, noisy]
        seen = [self.encoder(view.x, levels=chosen, valid=view.valid, attend=view.attend) for view in everything]
        for level in zip(*seen, strict=True):
            rows = [level_rows(h, v.attend, self.probe).float() for h, v in zip(level, everything, strict=True)]
            speeds, changed = [part[:n] for part in rows[: len(views)]], rows[len(views) :]
            # of a mean alone it is known what patches do to it
            patches = level[0].float() if self.by_patches and self.probe.pool == ("mean",) else None
            found.append(block_of(speeds, patches, batch, *changed))
        return found

    def signals(self, placed: Sequence[Batch], own: Sequence[Block]) -> list[float] | None:
        """Return the `signal` of shares, where there are some, and of each level, if weights rest on all of them."""
        if self.probe.level_weight is not None or not self.by_patches or self.probe.pool != ("mean",):
            return None
        channel = torch.cat([batch.channel[: batch.n] for batch in placed])
        counts = torch.cat([self.n_patches(batch) for batch in placed])
        # what patches disagree on is the first scatter
        found = [signal(block.rows, *block.scatters[0], counts, channel) for block in (*self.shares, *own)]
        known = [share for share in found if share is not None]
        return known if len(known) == len(found) else None

    def n_patches(self, batch: Batch) -> Tensor:
        """Return how many patches the mean of each sequence of a batch is of."""
        x, _, attend = batch.views[0]
        return x.new_full((batch.n,), self.encoder.n_tokens(x.shape[2])) if attend is None else attend[: batch.n].sum(1)

    def scale_blocks(self, placed: Sequence[Batch]) -> list[Block]:
        """Measure levels and scales of channels, and return the block of each, where they are part of the sketch."""
        scales = None if self.encoder.readout is None else self.encoder.readout.scales
        if scales is None:
            return []
        rows = torch.cat([scales.seen(batch.views[0].x, batch.views[0].valid)[: batch.n] for batch in placed])
        place = torch.cat([batch.place[: batch.n] for batch in placed])
        scales.measure(rows, place)
        return [Block(part, []) for part in scales.standardised(rows, place).split(self.encoder.channels, 1)]


def calibrate(encoder: Encoder, source: SeriesSource, probe: ProbeConfig, *, whiten: bool = True) -> None:
    """Measure the sketch of an encoder, where it has one, once; see `Calibrator`."""
    Calibrator(encoder, source, probe, whiten=whiten)("cpu")


def played(x: Tensor, valid: Tensor | None, factor: float, patch_length: int) -> tuple[Tensor, Tensor | None]:
    """Return values [B, C, T], gaps bridged, and which were measured, at `factor` times as many points.

    What does not fill a patch at the end is left out. A point was measured if the nearest one was.

    Examples
    --------
    >>> played(torch.tensor([[[1.0, 3.0, 5.0, 7.0]]]), None, 0.5, patch_length=1)[0]
    tensor([[[2., 6.]]])
    """
    size = round(x.shape[2] * factor)
    kept = max(size // patch_length, 1) * patch_length
    values = F.interpolate(x, size=size, mode="linear")[:, :, :kept]
    if valid is None:
        return values, None
    return values, F.interpolate(valid.to(x.dtype), size=size, mode="nearest-exact")[:, :, :kept] > 0


def block_of(speeds: Sequence[Tensor], patches: Tensor | None, batch: Batch, changed: Tensor | None = None) -> Block:
    """Return the block whose rows [n, F] the first of `speeds` holds.

    It scatters between speeds, where there are several, else between patches [B, N, F], where these are given; and
    between its rows and those that noise has changed [B, F]. What the batch says of sequences behind the first n has
    no part.
    """
    rows, n = speeds[0], batch.n
    attend, scatters = [view.attend[:n] for view in batch.views if view.attend is not None], []
    if len(speeds) > 1:
        there = torch.stack([tokens.any(1) for tokens in attend], 1) if attend else None
        scatters.append(scatter_within(torch.stack(list(speeds), 1), there))
    elif patches is not None:
        scatters.append(scatter_within(patches[:n], attend[0] if attend else None))
    if changed is not None:
        there = attend[0].any(1, keepdim=True).expand(-1, 2) if attend else None
        scatters.append(scatter_within(torch.stack([rows, changed[:n]], 1), there))
    return Block(rows, scatters)


def joined(parts: Sequence[Block]) -> Block:
    """Return the blocks of several batches as one."""
    by_kind = zip(*(block.scatters for block in parts), strict=True)
    scatters = [(torch.stack([s for s, _ in kind]).sum(0), sum(own for _, own in kind)) for kind in by_kind]
    return Block(torch.cat([block.rows for block in parts]), scatters)


def combined(block: Block) -> tuple[Tensor, int]:
    """Return the scatters of a block as one, to which each contributes as much; of none, nothing is known."""
    if len(block.scatters) == 1:
        return block.scatters[0]
    whole, freedom = block.rows.new_zeros(block.rows.shape[1], block.rows.shape[1]), 0
    for scatter, own in block.scatters:
        if own and scatter.trace() > 0:
            whole, freedom = whole + scatter / scatter.trace(), freedom + own
    return whole, freedom
