"""The straightforward way to do what tsjepa does: what its speed is measured against, and its results compared with.

Masks sample by sample in a Dataset, attention written out, SIGReg from the formula with all its knots at once, the
moving average weight by weight. It uses the weights of a model of `tsjepa.build_model`, and nothing else of tsjepa.
"""

import math
from typing import NamedTuple

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class PlainMask(NamedTuple):
    """Positions of visible and hidden tokens, [B, K] and [B, M]."""

    context: torch.Tensor
    target: torch.Tensor


class MaskedSeries(Dataset):
    """Series [n, 1, T], each with a mask of its own."""

    def __init__(self, values, n_tokens, ratio):
        self.values, self.n_tokens, self.n_hidden = values, n_tokens, round(ratio * n_tokens)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        order = torch.randperm(self.n_tokens)
        hidden, visible = order[: self.n_hidden].sort().values, order[self.n_hidden :].sort().values
        return self.values[index], visible, hidden


def position_code(positions, dim):
    """Return sines and cosines of the positions [...] at dim / 2 frequencies."""
    frequency = torch.tensor([10_000 ** (-i / (dim // 2)) for i in range(dim // 2)])
    angle = positions.unsqueeze(-1) * frequency
    return torch.cat([torch.sin(angle), torch.cos(angle)], -1)


def attention(block, x):
    """Multi-head self-attention, head by head."""
    dim = x.shape[-1]
    size = dim // block.heads
    query, key, value = block.qkv(x).split(dim, -1)
    heads = []
    for h in range(block.heads):
        part = slice(h * size, (h + 1) * size)
        logits = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size)
        heads.append(torch.softmax(logits, -1) @ value[..., part])
    return block.proj(torch.cat(heads, -1))


def transform(blocks, norm, h):
    """Run tokens through transformer blocks and the last norm."""
    for block in blocks:
        h = h + attention(block, block.norm1(h))
        h = h + block.mlp(block.norm2(h))
    return norm(h)


def encode(encoder, x, keep=None):
    """Return the last level's tokens of series [B, 1, T], of all patches or of those that `keep` [B, K] names."""
    x = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0)
    patches = x.squeeze(1).unfold(1, encoder.tokenizer.patch_length, encoder.tokenizer.patch_length)
    tokens = encoder.tokenizer.proj(patches)
    h = tokens + position_code(torch.arange(tokens.shape[1]), encoder.dim)
    if keep is not None:
        h = torch.stack([row[index] for row, index in zip(h, keep, strict=True)])
    return transform(encoder.blocks, encoder.norm, h)


def predict(predictor, context, mask):
    """Return predictions at the hidden positions."""
    dim = len(predictor.mask_token)
    seen = predictor.embed(context) + position_code(mask.context, dim)
    asked = predictor.mask_token + position_code(mask.target, dim)
    h = transform(predictor.blocks, predictor.norm, torch.cat([seen, asked], 1))
    return predictor.head(h[:, context.shape[1] :])


def textbook_epps_pulley(x, knots=17, t_max=3.0):
    """Return the statistic of each column of x [N, M] by a tensor [N, M, knots]."""
    t = torch.linspace(0, t_max, knots, dtype=x.dtype, device=x.device)
    weight = torch.full_like(t, 2 * t_max / (knots - 1))
    weight[[0, -1]] /= 2
    gauss = torch.exp(-t.square() / 2)
    angle = x.unsqueeze(-1) * t
    gap = (angle.cos().mean(0) - gauss).square() + angle.sin().mean(0).square()
    return len(x) * (gap * gauss * weight).sum(-1)


def textbook_sigreg(z, generator, slices=256, knots=17):
    """Return SIGReg of latents [B, N, D], all tokens together."""
    directions = torch.randn(z.shape[-1], slices, generator=generator)
    return textbook_epps_pulley(z.flatten(0, 1) @ (directions / directions.norm(dim=0)), knots).mean()


def plain_loss(model, x, mask, generator):
    """Return the loss of one batch of series [B, 1, T], of a recipe whose target is EMA or the encoder itself."""
    target = model.target.module if hasattr(model.target, "average") else model.encoder
    context = encode(model.encoder, x, mask.context)
    predicted = predict(model.predictor, context, mask)
    with torch.set_grad_enabled(target is model.encoder):
        latents = encode(target, x)
        if model.normalize_target:
            latents = F.layer_norm(latents, latents.shape[-1:])
    if model.projector is not None:
        predicted, latents = (model.projector(part) for part in (predicted, latents))
    if model.centre_target:
        latents = latents - latents.mean(0)
    goal = torch.stack([row[index] for row, index in zip(latents, mask.target, strict=True)])
    loss = {"l1": F.l1_loss, "mse": F.mse_loss}[model.loss](predicted, goal)
    if model.regularizer is None:
        return loss
    name = type(model.regularizer).__name__
    regularized = latents if target is model.encoder else context
    if name == "SIGReg":
        penalty = textbook_sigreg(regularized, generator, model.regularizer.slices, model.regularizer.knots)
    else:
        penalty = model.regularizer(regularized, generator)
    return loss + model.weight * penalty


class PlainTraining:
    """The straightforward loop: DataLoader, AdamW, moving average."""

    def __init__(self, model, values, batch_size, section, n_tokens, ratio):
        self.model, self.section = model.train(), section
        series = MaskedSeries(values, n_tokens, ratio)
        self.loader = DataLoader(series, batch_size=batch_size, shuffle=True, drop_last=True)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=section.lr, weight_decay=section.weight_decay)
        self.generator = torch.Generator().manual_seed(0)
        self.batches = iter(self.loader)

    def step(self):
        """Take one step."""
        try:
            x, context, target = next(self.batches)
        except StopIteration:
            self.batches = iter(self.loader)
            x, context, target = next(self.batches)
        self.optimizer.zero_grad()
        loss = plain_loss(self.model, x, PlainMask(context, target), self.generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.section.clip, foreach=False)
        self.optimizer.step()
        self.follow()
        return loss.item()

    def follow(self):
        """Move the target towards the encoder, weight by weight."""
        if not hasattr(self.model.target, "average"):
            return
        m = self.model.target.momentum.start
        with torch.no_grad():
            pairs = zip(self.model.target.module.parameters(), self.model.encoder.parameters(), strict=True)
            for average, weight in pairs:
                average.mul_(m).add_((1 - m) * weight)
