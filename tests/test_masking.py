"""Masks: partitions of the tokens, drawn without bias, also where rows differ in their valid tokens."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from random_values import gen
from scipy import stats
from torch import Tensor

from tsjepa.masking import Mask, bernoulli_mask, block_mask, check_mask, future_mask, random_mask

MASKS = {
    "bernoulli": bernoulli_mask,
    "random": random_mask,
    "block": partial(block_mask, block_length=3),
    "future": future_mask,
}
kinds = pytest.mark.parametrize("kind", MASKS)
quick = settings(deadline=None, derandomize=True, max_examples=40)
seeds = st.integers(0, 2**32 - 1)
# at these ratios round(ratio * n) leaves a context and a target for every n >= 2
ratios = st.floats(0.3, 0.7)


def real(part: Tensor, valid: Tensor | None) -> list[list[int]]:
    keep = torch.ones_like(part, dtype=torch.bool) if valid is None else valid
    return [row[ok].tolist() for row, ok in zip(part, keep, strict=True)]


def rows_of(mask: Mask) -> list[tuple[list[int], list[int]]]:
    context = real(mask.context, mask.context_valid)
    return list(zip(context, real(mask.target, mask.target_valid), strict=True))


def hidden(mask: Mask, n: int) -> Tensor:
    """Return which tokens are targets: bool [B, N]."""
    real = torch.ones_like(mask.target, dtype=torch.bool) if mask.target_valid is None else mask.target_valid
    return torch.zeros(len(mask.target), n, dtype=torch.bool).scatter(1, mask.target, real)


@kinds
@quick
@given(rows=st.integers(1, 6), n=st.integers(2, 30), seed=seeds, ratio=ratios)
def test_context_and_target_are_an_ascending_partition(kind: str, rows: int, n: int, seed: int, ratio: float) -> None:
    mask = MASKS[kind](rows, n, gen(seed), ratio=ratio)
    assert mask.context.dtype == mask.target.dtype == torch.int64
    assert mask.context_valid is None
    assert mask.target_valid is None
    assert mask.attend() is None
    assert mask.context.shape[0] == mask.target.shape[0] == rows
    assert mask.context.shape[1] > 0
    assert mask.target.shape[1] > 0
    for context, target in rows_of(mask):
        assert context == sorted(context)
        assert target == sorted(target)
        assert sorted(context + target) == list(range(n))


@st.composite
def ragged(draw: st.DrawFn) -> np.ndarray:
    n = draw(st.integers(2, 15))
    return draw(arrays(bool, (draw(st.integers(1, 6)), n)))


@kinds
@quick
@given(valid=ragged(), seed=seeds, ratio=ratios)
def test_only_valid_tokens_are_real_entries(kind: str, valid: np.ndarray, seed: int, ratio: float) -> None:
    mask = MASKS[kind](*valid.shape, gen(seed), torch.from_numpy(valid), ratio=ratio)
    if valid.all():
        assert mask.context_valid is None
    else:
        assert mask.context_valid.shape == mask.context.shape
        assert mask.target_valid.shape == mask.target.shape
        assert mask.attend().shape == (len(valid), mask.context.shape[1] + mask.target.shape[1])
        assert mask.attend().any(1).all()
    joined = torch.cat([mask.context, mask.target], 1)
    assert ((joined >= 0) & (joined < valid.shape[1])).all()
    for row, (context, target) in zip(valid, rows_of(mask), strict=True):
        there = np.flatnonzero(row).tolist()
        assert context == sorted(context)
        assert target == sorted(target)
        if len(there) >= 2:
            assert sorted(context + target) == there
            assert context
            assert target
        else:  # one valid token is context; a row without any has its first token, lest attention be undefined
            assert (context, target) == (there or [0], [])


@kinds
def test_rows_with_equally_many_valid_tokens_hide_equally_many(kind: str) -> None:
    valid = torch.ones(30, 12, dtype=torch.bool)
    valid[:10, :4] = False
    valid[10:20, ::3] = False
    mask = MASKS[kind](30, 12, gen(), valid, ratio=0.5)
    count = mask.target_valid.sum(1)
    assert len(count[:20].unique()) == 1
    assert len(count[20:].unique()) == 1
    if kind in ("random", "block"):
        assert (count[0], count[20]) == (4, 6)


@pytest.mark.parametrize("padded", [False, True])
@kinds
def test_a_mask_is_a_function_of_its_generator(kind: str, padded: bool) -> None:
    valid = torch.ones(8, 20, dtype=torch.bool)
    valid[0, 15:] = not padded

    def draw(seed: int) -> Mask:
        torch.manual_seed(seed + 100)  # the global generator must not matter
        return MASKS[kind](8, 20, gen(seed), valid, ratio=0.5)

    first, again = draw(1), draw(1)
    torch.manual_seed(5)
    third = MASKS[kind](8, 20, gen(1), valid, ratio=0.5)
    for a, b, c in zip(first, again, third, strict=True):
        assert (a is None and b is None and c is None) or (torch.equal(a, b) and torch.equal(a, c))
    assert any(rows_of(draw(seed)) != rows_of(first) for seed in range(2, 6))


@pytest.mark.parametrize("kind", ["bernoulli", "random", "block"])
def test_rows_of_a_batch_differ(kind: str) -> None:
    mask = MASKS[kind](50, 20, gen(), ratio=0.5)
    assert len(mask.target.unique(dim=0)) > 10


@pytest.mark.parametrize("kind", ["random", "block"])
@pytest.mark.parametrize(("n", "ratio", "count"), [(10, 0.7, 7), (10, 0.3, 3), (7, 0.5, 4), (2, 0.5, 1)])
def test_exact_counts(kind: str, n: int, ratio: float, count: int) -> None:
    assert MASKS[kind](4, n, gen(), ratio=ratio).target.shape == (4, count)


def test_the_bernoulli_rate_is_that_of_draws_with_context_and_target() -> None:
    n, p = 10, 0.7
    expected = (p - p**n) / (1 - p**n - (1 - p) ** n)
    assert expected == pytest.approx(0.691, abs=5e-4)
    generator = gen()
    count = np.array([bernoulli_mask(1, n, generator, ratio=p).target.shape[1] for _ in range(4000)])
    assert count.mean() / n == pytest.approx(expected, abs=0.008)  # 3.5 standard errors; 0.700 is 3.8 away
    law = stats.binom.pmf(np.arange(n + 1), n, p)[1:n]
    seen = np.bincount(count, minlength=n + 1)[1:n]
    grouped = [seen[:4].sum(), *seen[4:]], [law[:4].sum(), *law[4:]]  # the first counts are too rare on their own
    assert stats.chisquare(grouped[0], np.array(grouped[1]) / law.sum() * 4000).pvalue > 1e-4


def test_the_future_draws_its_horizon() -> None:
    generator = gen()
    masks = [future_mask(3, 10, generator, ratio=0.5) for _ in range(300)]
    assert all(bool((m.context.amax(1) < m.target.amin(1)).all()) for m in masks)
    horizons = np.array([m.target.shape[1] for m in masks])
    assert len(set(horizons)) >= 6
    assert horizons.mean() == pytest.approx(5, abs=0.4)


@quick
@given(valid=ragged(), seed=seeds)
def test_the_future_is_after_the_context_in_every_ragged_row(valid: np.ndarray, seed: int) -> None:
    mask = future_mask(*valid.shape, gen(seed), torch.from_numpy(valid))
    for context, target in rows_of(mask):
        assert not target or max(context) < min(target)


@pytest.mark.parametrize("ragged_rows", [False, True])
@pytest.mark.parametrize("kind", ["bernoulli", "random", "block"])
def test_every_position_is_hidden_equally_often(kind: str, ragged_rows: bool) -> None:
    n, batches, rows = 11, 250, 80
    valid = torch.ones(rows, n, dtype=torch.bool)
    if ragged_rows:
        valid[:, [0, 4]] = False
    generator = gen(3)
    counts = sum(hidden(MASKS[kind](rows, n, generator, valid, ratio=0.6), n).sum(0) for _ in range(batches)).numpy()
    assert counts[~valid[0].numpy()].sum() == 0
    share = counts[valid[0].numpy()] / (batches * rows)
    # five standard errors of a share over 20 000 rows
    assert np.abs(share - share.mean()).max() < 5 * np.sqrt(share.mean() * (1 - share.mean()) / (batches * rows))


def test_random_subsets_are_uniform() -> None:
    mask = random_mask(30_000, 5, gen(), ratio=0.4)
    _, seen = mask.target.unique(dim=0, return_counts=True)
    assert len(seen) == 10
    assert stats.chisquare(seen.numpy()).pvalue > 1e-4


def ring_runs(row: np.ndarray) -> list[int]:
    """Return the lengths of the runs of True on the ring."""
    start = int(np.argmin(row))
    text = "".join("x" if h else " " for h in np.roll(row, -start))
    return [len(run) for run in text.split()]


@quick
@given(n=st.integers(2, 30), length=st.integers(1, 8), seed=seeds, ratio=ratios)
def test_hidden_tokens_form_blocks_on_the_ring(n: int, length: int, seed: int, ratio: float) -> None:
    rows = hidden(block_mask(5, n, gen(seed), ratio=ratio, block_length=length), n).numpy()
    count = round(ratio * n)
    for row in rows:
        runs = ring_runs(row)
        assert sum(runs) == count
        rest = [run % length for run in runs if run % length]
        assert rest == ([count % length] if count % length else [])


def test_blocks_cross_the_end_and_touch() -> None:
    rows = hidden(block_mask(500, 12, gen(), ratio=0.5, block_length=3), 12).numpy()
    assert any(row[0] and row[-1] for row in rows)
    assert {tuple(sorted(ring_runs(row))) for row in rows} == {(3, 3), (6,)}


@pytest.mark.parametrize(("n", "length", "count"), [(8, 2, 4), (9, 2, 5), (10, 3, 7), (6, 4, 3)])
def test_all_arrangements_of_blocks_are_equally_likely(n: int, length: int, count: int) -> None:
    whole, rest = divmod(count, length)
    expected: dict[tuple[int, ...], int] = {}
    for starts in combinations(range(n), whole):
        for short in range(n) if rest else [None]:
            cells = [(s + i) % n for s in starts for i in range(length)]
            cells += [] if short is None else [(short + i) % n for i in range(rest)]
            if len(set(cells)) == count:
                key = tuple(sorted(cells))
                expected[key] = expected.get(key, 0) + 1
    rows = 40_000
    targets, seen = block_mask(rows, n, gen(2), ratio=count / n, block_length=length).target.unique(
        dim=0, return_counts=True
    )
    found = dict(zip(map(tuple, targets.tolist()), seen.tolist(), strict=True))
    assert set(found) == set(expected)
    weight = np.array([expected[key] for key in found]) / sum(expected.values())
    assert stats.chisquare(list(found.values()), weight * rows).pvalue > 1e-4


@kinds
@pytest.mark.parametrize("ratio", [0, 1, -0.3, 1.7, float("nan")])
def test_impossible_ratios_are_refused(kind: str, ratio: float) -> None:
    with pytest.raises(ValueError, match=r"mask\.ratio must lie between 0 and 1"):
        MASKS[kind](2, 10, gen(), ratio=ratio)


@pytest.mark.parametrize("kind", ["random", "block"])
@pytest.mark.parametrize(("ratio", "lacks"), [(0.04, "nothing to predict"), (0.96, "nothing to predict from")])
def test_a_count_that_leaves_nothing_is_refused(kind: str, ratio: float, lacks: str) -> None:
    with pytest.raises(ValueError, match=rf"{lacks}: choose another ratio or more patches"):
        MASKS[kind](2, 10, gen(), ratio=ratio)


@pytest.mark.parametrize("kind", ["bernoulli", "future"])
@pytest.mark.parametrize("ratio", [0.02, 0.98])
def test_drawn_counts_always_leave_both(kind: str, ratio: float) -> None:
    generator = gen()
    for _ in range(20):
        mask = MASKS[kind](2, 3, generator, ratio=ratio)
        assert mask.context.shape[1] + mask.target.shape[1] == 3
        assert min(mask.context.shape[1], mask.target.shape[1]) > 0


@kinds
@pytest.mark.parametrize("ratio", [0.2, 0.8, 0.9])
def test_a_short_row_does_not_stop_a_ragged_batch(kind: str, ratio: float) -> None:
    valid = torch.ones(3, 10, dtype=torch.bool)
    valid[0, 2:] = False
    mask = MASKS[kind](3, 10, gen(), valid, ratio=ratio)
    context, target = rows_of(mask)[0]
    assert (len(context), len(target)) == (1, 1)


@kinds
@pytest.mark.parametrize("n", [0, 1])
def test_one_token_cannot_be_masked(kind: str, n: int) -> None:
    with pytest.raises(ValueError, match=f"at least 2 tokens .* but there is {n}"):
        MASKS[kind](2, n, gen(), ratio=0.5)


@pytest.mark.parametrize("length", [0, -1])
def test_a_block_has_a_length(length: int) -> None:
    with pytest.raises(ValueError, match=rf"mask\.block_length must be at least 1, but is {length}"):
        block_mask(2, 10, gen(), block_length=length)


def test_moving_a_mask_keeps_its_parts() -> None:
    valid = torch.tensor([[True, True, True], [True, True, False]])
    for mask in (random_mask(2, 3, gen(), valid, ratio=0.5), random_mask(2, 3, gen(), ratio=0.5)):
        moved = mask.to(torch.device("meta"))
        for part, there in zip(mask, moved, strict=True):
            assert (part is None) == (there is None)
            assert there is None or there.device.type == "meta"


@pytest.mark.parametrize("kind", ["bernoulli", "future"])
@pytest.mark.parametrize(("ratio", "hides"), [(1e-9, False), (1 - 1e-8, True), (1 - 1e-15, True)])
def test_a_ratio_next_to_0_or_1_hides_or_shows_one_token(kind: str, ratio: float, hides: bool) -> None:
    valid = torch.ones(3, 6, dtype=torch.bool)
    valid[0, 4:] = False
    for there in (None, valid):
        counts = [6, 6, 6] if there is None else [4, 6, 6]
        mask = MASKS[kind](3, 6, gen(), there, ratio=ratio)
        assert [len(target) for _, target in rows_of(mask)] == [n - 1 if hides else 1 for n in counts]


def test_what_one_part_alone_says_is_heeded_and_all_of_the_other_is_real() -> None:
    context, target, some = torch.zeros(2, 2, dtype=int), torch.zeros(2, 3, dtype=int), torch.tensor([True, False])
    of_context, of_target = some.expand(2, -1), some[[0, 1, 0]].expand(2, -1)
    assert Mask(context, target, of_context).attend().tolist() == [[True, False, True, True, True]] * 2
    assert Mask(context, target, None, of_target).attend().tolist() == [[True, True, True, False, True]] * 2


ROWS = torch.arange(4).expand(3, -1)
OTHERS = torch.arange(4, 8).expand(3, -1)


@pytest.mark.parametrize("field", ["context", "target"])
@pytest.mark.parametrize(
    ("changed", "error", "sentence"),
    [
        (lambda part: part[:1], ValueError, r"^the mask's {} has shape \(1, 4\) for 3 sequences: give each a row"),
        (lambda part: part.repeat(2, 1), ValueError, r"^the mask's {} has shape \(6, 4\) for 3 sequences"),
        (lambda part: part[0], ValueError, r"^the mask's {} has shape \(4,\) for 3 sequences: .* {}\.expand\("),
        (lambda part: part[:, :0], ValueError, r"^the mask's {} has no position: show a token of each sequence"),
        (lambda part: part > 1, TypeError, r"^the mask's {} is torch\.bool: give positions of tokens"),
        (lambda part: part.float(), TypeError, r"^the mask's {} is torch\.float32: give positions of tokens"),
        (lambda part: part.tolist(), TypeError, r"^the mask's {} is list: give positions of tokens"),
    ],
)
def test_positions_that_are_not_a_row_for_each_sequence(changed, error: type, sentence: str, field: str) -> None:
    whole = Mask(ROWS, OTHERS)
    check_mask(whole, 3)
    with pytest.raises(error, match=sentence.replace("{}", field)):
        check_mask(whole._replace(**{field: changed(getattr(whole, field))}), 3)


@pytest.mark.parametrize("field", ["context_valid", "target_valid"])
@pytest.mark.parametrize("flags", [torch.ones_like(ROWS), torch.ones(1, 4, dtype=torch.bool)])
def test_flags_that_would_be_taken_for_rows_or_said_of_other_tokens(field: str, flags: Tensor) -> None:
    check_mask(Mask(ROWS, OTHERS, **{field: torch.ones(3, 4, dtype=torch.bool)}), 3)
    with pytest.raises(ValueError, match=rf"^the mask's {field} has to be bool and of the shape of .*, \(3, 4\)\.$"):
        check_mask(Mask(ROWS, OTHERS, **{field: flags}), 3)


@pytest.mark.parametrize("drawn", [(ROWS, OTHERS), None])
def test_what_is_no_mask(drawn) -> None:
    with pytest.raises(TypeError, match=rf"^the mask gives a {type(drawn).__name__}: return a tsjepa\.Mask\("):
        check_mask(drawn, 3)
