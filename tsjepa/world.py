"""A latent world model: the latents that come next, from those so far and from what the plant will be told.

The objective is JEPA's with other branches: nothing is hidden, a causal encoder gives one latent a patch, and from each
place the latents some horizons ahead are predicted. After LeWorldModel (arXiv 2603.19312) latents are the encoder's
tokens behind a projector with batch norm, predictions leave through a projector of their own, and SIGReg per time step
keeps latents Gaussian: no average, no stop-gradient, two terms and one weight.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from tsjepa.encoder import Encoder
from tsjepa.layers import Block, check_width, init_weights, sincos_positions
from tsjepa.masking import next_mask
from tsjepa.normalization import FARTHEST
from tsjepa.objective import JEPA, Branches, Loss
from tsjepa.projector import Projector
from tsjepa.ranks import Share
from tsjepa.regularizers import Regularizer
from tsjepa.targets import SelfTarget, Target, check_widths
from tsjepa.tokenizers import to_patches


class Dynamics(nn.Module):
    """Beliefs about the state of a plant, and one step of time of them.

    A causal transformer over latents, and inputs beside them, gives the belief at each patch; a residual network moves
    a belief one patch on, with the inputs of that patch; a head reads the latent off a belief. A prediction h patches
    ahead is h steps, so horizons that were not trained can be asked for, too.

    Parameters
    ----------
    latent_dim : int
        Width E of the latents.
    dim : int
        Width D of a belief, even and divisible by `heads`.
    depth : int
        Number of blocks.
    heads : int
        Attention heads per block.
    n_inputs : int, default=0
        Numbers I that a plant is told in one patch; 0 means that nothing is known of them.
    projector : Projector, optional
        From beliefs to latents; by default one linear map.

    Raises
    ------
    ValueError
        If `dim` is odd or not divisible by `heads`.

    Examples
    --------
    >>> dynamics = Dynamics(8, dim=16, depth=1, heads=2)
    >>> dynamics(torch.zeros(4, 10, 8), horizons=(1, 3)).shape
    torch.Size([4, 16, 8])
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        dim: int,
        depth: int,
        heads: int,
        n_inputs: int = 0,
        projector: Projector | None = None,
    ) -> None:
        super().__init__()
        check_width(dim, "beliefs")
        self.embed = nn.Linear(latent_dim, dim)
        self.drive = nn.Linear(n_inputs, dim) if n_inputs else None
        self.blocks = nn.ModuleList(Block(dim, heads, causal=True) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.change = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.apply(init_weights)
        self.head = nn.Linear(dim, latent_dim) if projector is None else projector

    def forward(
        self,
        latents: Tensor,
        inputs: Tensor | None = None,
        *,
        horizons: Sequence[int],
        attend: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Predict from each place on the latents some horizons ahead.

        Parameters
        ----------
        latents : Tensor of shape (B, N, E)
        inputs : Tensor of shape (B, N, I), optional
            What the plant is told in each patch.
        horizons : sequence of int
            Patches ahead, each from 1 to N - 1.
        attend : bool Tensor of shape (B, N), optional
            Which latents hold a measured point; None means all.
        valid : bool Tensor of shape (B, M), optional
            Which predictions count; None means all.

        Returns
        -------
        Tensor of shape (B, M, E)
            In the order of `tsjepa.masking.next_mask`: horizons h as given, N - h predictions each, in that of time.
        """
        belief = self.beliefs(latents, inputs, attend)
        ahead = {}
        for h in range(1, max(horizons) + 1):
            belief = self.step(belief[:, :-1], None if inputs is None else inputs[:, h:])
            if h in horizons:
                ahead[h] = belief
        return self.read(torch.cat([ahead[h] for h in horizons], 1), valid)

    def beliefs(self, latents: Tensor, inputs: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """Return the belief [B, N, D] at each patch, of latents and inputs up to it."""
        h = self.embed(latents) + self.driven(inputs)
        h = h + sincos_positions(torch.arange(h.shape[1], device=h.device), h.shape[2]).to(h.dtype)
        for block in self.blocks:
            h = block(h, attend)
        return self.norm(h)

    def step(self, belief: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Move beliefs [..., D] one patch on, in which the plant is told inputs [..., I]."""
        return belief + self.change(belief + self.driven(inputs))

    def driven(self, inputs: Tensor | None) -> Tensor | float:
        """Return what inputs [..., I] add to a belief."""
        return 0.0 if self.drive is None else self.drive(inputs)

    def read(self, beliefs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the latents [B, M, E] of beliefs [B, M, D]; those that `valid` [B, M] excludes are no samples."""
        return self.head(beliefs, valid) if isinstance(self.head, Projector) else self.head(beliefs)


class WorldModel(JEPA):
    """Predicts the latents to come from those so far (LeWorldModel, arXiv 2603.19312, for sensors).

    Parameters
    ----------
    encoder : Encoder
        Causal; the channels that are its inputs go to the dynamics instead.
    dynamics : Dynamics
    horizons : sequence of int
        Patches ahead that are predicted in training, each at least 1.
    target : SelfTarget or EMATarget, optional
        By default the encoder itself, with gradient.
    regularizer : SIGReg, VICReg or VISReg, optional
    weight : float, default=1.0
        Weight of the regularizer, at least 0.
    projector : Projector, optional
        From tokens to latents, kept after training; without one, tokens are latents.
    loss : {"l1", "smooth_l1", "mse"}, default="mse"

    Raises
    ------
    ValueError
        If the encoder is not causal, or a horizon is below 1 or there is none.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 16, channels=3), depth=1, heads=2, normalize="none", causal=True)
    >>> model = WorldModel(encoder, Dynamics(16, dim=16, depth=1, heads=2), horizons=(1, 2))
    >>> out = model(torch.randn(4, 3, 50), torch.Generator().manual_seed(0))
    >>> out.loss.requires_grad, sorted(out.terms)
    (True, ['prediction'])
    """

    predictor: Dynamics

    def __init__(
        self,
        encoder: Encoder,
        dynamics: Dynamics,
        *,
        horizons: Sequence[int],
        target: Target | None = None,
        regularizer: Regularizer | None = None,
        weight: float = 1.0,
        projector: Projector | None = None,
        loss: Loss = "mse",
    ) -> None:
        if not encoder.causal:
            raise ValueError(
                "a world model takes a causal encoder, whose latents hold nothing of what is to be predicted: build it "
                "with causal=True."
            )
        if min(horizons, default=0) < 1:
            raise ValueError(f"horizons are patches ahead, one or more of at least 1, but are {list(horizons)}.")
        super().__init__(
            encoder,
            dynamics,
            mask=partial(next_mask, horizons=horizons),
            target=SelfTarget(encoder) if target is None else target,
            regularizer=regularizer,
            weight=weight,
            projector=projector,
            loss=loss,
            normalize_target=False,
        )
        self.horizons = tuple(horizons)

    def branches(
        self, x: Tensor, generator: torch.Generator, valid: Tensor | None = None, share: Share | None = None
    ) -> Branches:
        """Run encoder, dynamics and target; see `JEPA.forward` for the parameters."""
        inputs = self.inputs(x, valid)
        x, valid = self.encoder.sequences(x, valid)
        attend = self.encoder.token_valid(valid)
        (tokens,) = self.encoder(x, valid=valid, attend=attend)
        mask = self.mask(len(x), tokens.shape[1], generator, attend).to(x.device)
        latents = self.project(tokens, attend)
        predicted = self.predictor(latents, inputs, horizons=self.horizons, attend=attend, valid=mask.target_valid)
        if not self.target.trains_encoder:
            latents = self.project(self.latents(x, valid, attend), attend)
        check_widths(predicted, latents)
        return Branches(mask, tokens, predicted, None, latents, attend)

    def inputs(self, x: Tensor, valid: Tensor | None = None) -> Tensor | None:
        """Return what the plant is told in each patch [B, N, I] of series [B, C, T], see `told`.

        Raises
        ------
        ValueError
            If each of several measured channels is a sequence of its own.
        """
        chosen = list(self.encoder.inputs)
        if not chosen:
            return None
        n_measured = len(self.encoder.measured(x.shape[1]))
        if self.encoder.channels == 1 and n_measured > 1:
            raise ValueError(
                f"inputs go with latents of all measured channels, but this encoder takes each of {n_measured} as a "
                f"sequence of its own: give it a tokenizer with channels={n_measured}."
            )
        return self.told(x[:, chosen], None if valid is None else valid[:, chosen])

    def told(self, inputs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return inputs [B, U, T] by patches [B, N, I], standardised as measured channels are.

        Missing values are 0, as in measured channels: the mean, or what stands for it where there are no statistics.
        What a plant was told before the first known value, only later ones could tell.
        """
        statistics, chosen = self.encoder.statistics, list(self.encoder.inputs)
        if statistics is not None:
            mean, scale = (part[chosen, None].to(inputs.device) for part in (statistics.mean, statistics.scale))
            inputs = ((inputs - mean) / scale).clamp(-FARTHEST, FARTHEST)
        if valid is not None:
            inputs = torch.where(valid, inputs, 0.0)
        return to_patches(inputs, self.encoder.tokenizer.patch_length).transpose(1, 2).flatten(2)

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents of whole windows, and what was predicted of their last patch from each horizon away.

        Parameters
        ----------
        x : Tensor of shape (B, C, T)
            Every point measured; T a multiple of the patch length, more patches than the largest horizon.

        Returns
        -------
        latents : Tensor of shape (B, N, E)
        predicted : Tensor of shape (B, H, E)
            From the latents up to the horizon before the last patch, and the inputs up to the last.
        """
        inputs = self.inputs(x)
        (tokens,) = self.encoder(self.encoder.sequences(x)[0])
        latents = self.project(tokens, None)
        beliefs, last = self.predictor.beliefs(latents, inputs), latents.shape[1] - 1
        predicted = []
        for h in self.horizons:
            belief = beliefs[:, last - h]
            for place in range(last - h + 1, last + 1):
                belief = self.predictor.step(belief, None if inputs is None else inputs[:, place])
            predicted.append(belief)
        return latents, self.predictor.read(torch.stack(predicted, 1))

    def belief(self, x: Tensor) -> Tensor:
        """Return the belief [B, D] at the end of a context [B, C, T] of which every point was measured.

        Patches are whole and end with the context: the first T mod P points, which fill none, are left out.

        Raises
        ------
        ValueError
            If the context is shorter than a patch.
        """
        length, patch = x.shape[2], self.encoder.tokenizer.patch_length
        if length < patch:
            raise ValueError(
                f"the context has {length} point(s), fewer than the {patch} of a patch: give a longer one."
            )
        x = x[:, :, length % patch :]
        (tokens,) = self.encoder(self.encoder.sequences(x)[0])
        return self.predictor.beliefs(self.project(tokens, None), self.inputs(x))[:, -1]

    def rollout(self, belief: Tensor, inputs: Tensor | None = None, *, steps: int) -> Tensor:
        """Return the latents that follow a belief, without anything measured after it.

        Parameters
        ----------
        belief : Tensor of shape (B, D)
        inputs : Tensor of shape (B, U, steps * P), optional
            What the plant will be told, in the unit of the series; only where the encoder has inputs.
        steps : int
            Patches to predict, at least 1; more than the largest horizon of training is an extrapolation.

        Returns
        -------
        Tensor of shape (B, steps, E)

        Raises
        ------
        ValueError
            If there is no step, inputs are missing or not of that many steps, or the model has none.
        """
        self._check_rollout(inputs, steps)
        told = None if inputs is None else self.told(inputs)
        beliefs = []
        for step in range(steps):
            belief = self.predictor.step(belief, None if told is None else told[:, step])
            beliefs.append(belief)
        return self.predictor.read(torch.stack(beliefs, 1))

    def _check_rollout(self, inputs: Tensor | None, steps: int) -> None:
        count, patch = len(self.encoder.inputs), self.encoder.tokenizer.patch_length
        if steps < 1:
            raise ValueError(f"steps is {steps}: predict at least 1 patch.")
        if (inputs is None) != (not count):
            raise ValueError(f"the model has {count} input(s): give inputs where it has some only.")
        if inputs is not None and tuple(inputs.shape[1:]) != (count, steps * patch):
            raise ValueError(
                f"inputs have shape {tuple(inputs.shape)}, but {count} input(s) over {steps} patches of {patch} points "
                f"are (B, {count}, {steps * patch})."
            )
