"""Values to tokens, one token a patch: linear patches, spectral patches, a dense convolution stem.

Every tokenizer maps [B, C, T] to [B, N, D], N = ceil(T / patch_length), or to the K tokens of each row that are asked
for. Where T is not a multiple of the patch length, the last patch is filled up with zeros, the mean of a normalised
series.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa.filterbank import pooled_responses
from tsjepa.layers import gather_tokens

# How sharply the smoothed share of positive values counts a unit-variance response as positive
SLOPE = 4.0


def n_patches(n_timepoints: int, patch_length: int) -> int:
    """Return the number of patches that cover a series, the last one possibly in part.

    Examples
    --------
    >>> n_patches(500, 50), n_patches(501, 50)
    (10, 11)
    """
    # of positive numbers only: an exported graph rounds towards zero
    return (n_timepoints + patch_length - 1) // patch_length


def to_patches(x: Tensor, patch_length: int) -> Tensor:
    """Cut series into patches that do not overlap, the last one filled up with zeros.

    Parameters
    ----------
    x : Tensor of shape (B, C, T)
    patch_length : int
        P, in time points.

    Returns
    -------
    Tensor of shape (B, C, N, P)

    Examples
    --------
    >>> to_patches(torch.ones(1, 1, 3), 2)
    tensor([[[[1., 1.],
              [1., 0.]]]])
    """
    count = n_patches(x.shape[-1], patch_length)
    return F.pad(x, (0, count * patch_length - x.shape[-1])).unflatten(-1, (count, patch_length))


class LinearPatches(nn.Module):
    """One linear map from the values of a patch, all its channels together, to its token.

    Parameters
    ----------
    patch_length : int
        P, in time points.
    dim : int
        Token width D.
    channels : int, default=1
        Number of channels C that share a token.

    Examples
    --------
    >>> LinearPatches(50, 8)(torch.zeros(2, 1, 500)).shape
    torch.Size([2, 10, 8])
    """

    sees_neighbours = False
    sees_later = False

    def __init__(self, patch_length: int, dim: int, channels: int = 1) -> None:
        super().__init__()
        self.patch_length, self.dim, self.channels = patch_length, dim, channels
        self.proj = nn.Linear(channels * self.n_features(patch_length), dim)

    @staticmethod
    def n_features(patch_length: int) -> int:
        """Return how many features `features` makes of one channel of a patch."""
        return patch_length

    def features(self, patches: Tensor) -> Tensor:
        """Return the features [B, C, N, F] of patches [B, C, N, P]; here the values themselves."""
        return patches

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Map values [B, C, T] to tokens [B, N, D], or to those [B, K, D] at the positions keep [B, K]."""
        patches = pick_patches(to_patches(x, self.patch_length), keep)
        return self.proj(self.features(patches).transpose(1, 2).flatten(2))


class SpectralPatches(LinearPatches):
    """Linear patches that also see the logarithm of the patch's power spectrum.

    The values keep shape and phase, the spectrum adds what does not change when an event moves inside the patch.
    The patch is tapered by a Hann window before the transform. See `LinearPatches` for the parameters.

    Examples
    --------
    >>> SpectralPatches(50, 8)(torch.zeros(2, 1, 500)).shape
    torch.Size([2, 10, 8])
    """

    window: Tensor

    def __init__(self, patch_length: int, dim: int, channels: int = 1) -> None:
        super().__init__(patch_length, dim, channels)
        window = torch.hann_window(patch_length + 2, periodic=False)[1:-1]  # the zeros at the ends would waste points
        self.register_buffer("window", window / window.norm(), persistent=False)

    @staticmethod
    def n_features(patch_length: int) -> int:
        """Return P values and P // 2 + 1 frequencies."""
        return patch_length + patch_length // 2 + 1

    def features(self, patches: Tensor) -> Tensor:
        """Return values and log power [B, C, N, P + P // 2 + 1]."""
        power = torch.fft.rfft(patches * self.window).abs().square()
        return torch.cat([patches, torch.log(power + 1e-3)], -1)


class ConvStem(nn.Module):
    """Dense dilated convolutions; a token holds, per filter, the share of positive values and the maximum in its patch.

    The two statistics are those of the ROCKET family (Dempster et al. 2020, 2021), here of filters that are learned:
    the share of positive values is smoothed by a sigmoid so that it has a gradient. A filter reaches beyond its
    patch, so a hidden patch must be blanked before the stem (`sees_neighbours`).

    Parameters
    ----------
    patch_length : int
        P, in time points.
    dim : int
        Token width D.
    channels : int, default=1
        Number of input channels C.
    filters : int, default=32
        Filters per dilation.
    kernel_size : int, default=9
        Points that one filter weighs, odd.
    dilations : tuple of int, default=(1, 2, 4, 8)
        Distances between these points.
    causal : bool, default=False
        Whether the points that a filter weighs lie before its place rather than around it.

    Examples
    --------
    >>> ConvStem(50, 8)(torch.zeros(2, 1, 500)).shape
    torch.Size([2, 10, 8])
    """

    sees_neighbours = True

    def __init__(
        self,
        patch_length: int,
        dim: int,
        channels: int = 1,
        filters: int = 32,
        kernel_size: int = 9,
        dilations: tuple[int, ...] = (1, 2, 4, 8),
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.patch_length, self.dim, self.channels = patch_length, dim, channels
        self.sees_later = not causal
        self.dilations, self.reach = tuple(dilations), max(dilations) * (kernel_size // 2)
        convs = [
            nn.Conv1d(channels, filters, kernel_size, dilation=d, padding=d * (kernel_size // 2)) for d in dilations
        ]
        for conv in convs:
            assert conv.bias is not None
            self.spread(conv.weight, conv.bias)
        self.convs = nn.ModuleList(convs)
        self.proj = nn.Linear(2 * filters * len(dilations), dim)

    @staticmethod
    def spread(weight: Tensor, bias: Tensor) -> None:
        """Draw zero-sum unit-norm filters, and biases within the range of their responses to unit-variance input."""
        with torch.no_grad():
            weight.normal_()
            weight -= weight.mean((1, 2), keepdim=True)
            weight /= weight.flatten(1).norm(dim=1)[:, None, None]
            bias.uniform_(-1, 1)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Map values [B, C, T] to tokens [B, N, D], or to those [B, K, D] at the positions keep [B, K]."""
        if torch.compiler.is_compiling() or (x.requires_grad and torch.is_grad_enabled()):
            tokens = self.plain_statistics(x)
            return self.proj(tokens if keep is None else gather_tokens(tokens, keep))
        windows = pick_patches(self.windows(x), keep)
        rows = windows.transpose(1, 2).flatten(0, 1)
        # the slope is multiplied into the small filters instead of the large responses
        weight = SLOPE * torch.stack([conv.get_parameter("weight") for conv in self.convs])
        bias = SLOPE * torch.stack([conv.get_parameter("bias") for conv in self.convs])
        share, peak = pooled_responses(rows, weight, bias, self.dilations, self.patch_length)
        statistics = torch.cat([share.flatten(1), peak.flatten(1) / SLOPE], 1)
        return self.proj(statistics).unflatten(0, (windows.shape[0], windows.shape[2]))

    def plain_statistics(self, x: Tensor) -> Tensor:
        """Return what `forward` projects [B, N, 2 * F] by plain operations, which hold all responses.

        For graphs, of compilation and of export, and for an input that has a gradient of its own.
        """
        patches = to_patches(x, self.patch_length)
        values, late = patches.flatten(2), 0 if self.sees_later else self.reach
        share, peak = [], []
        for conv in self.convs:
            response = conv(F.pad(values, (late, 0)))[..., : values.shape[2]].unflatten(2, patches.shape[2:])
            share.append(torch.sigmoid(SLOPE * response).mean(-1))
            peak.append(response.amax(-1))
        return torch.cat([*share, *peak], 1).transpose(1, 2)

    def windows(self, x: Tensor) -> Tensor:
        """Return each patch with what the filters see beside it, [B, C, N, W]."""
        fill = -x.shape[-1] % self.patch_length
        before, after = (self.reach, self.reach) if self.sees_later else (2 * self.reach, 0)
        padded = F.pad(x, (before, after + fill))
        return padded.unfold(2, self.patch_length + 2 * self.reach, self.patch_length)


def pick_patches(patches: Tensor, keep: Tensor | None) -> Tensor:
    """Return the patches [B, C, K, P] of [B, C, N, P] at positions keep [B, K], or all of them."""
    if keep is None:
        return patches
    index = keep[:, None, :, None].expand(-1, patches.shape[1], -1, patches.shape[3])
    return patches.gather(2, index)
