"""oneDNN's float32 products: used only where they are exact, and the setting is left as it was."""

import pytest
import torch

from tsjepa import precision
from tsjepa.precision import exact, fast_float32


def setting() -> str:
    return torch.backends.mkldnn.matmul.fp32_precision


@pytest.fixture(autouse=True)
def unchanged():
    before = setting()
    yield
    assert setting() == before


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("intel", [True, False])
def test_the_setting_holds_inside_only_and_where_it_is_exact_and_faster(monkeypatch, lossless, intel):
    monkeypatch.setattr(precision, "exact", lambda: lossless)
    monkeypatch.setattr(precision, "intel", lambda: intel)
    before = setting()
    with fast_float32():
        assert setting() == ("bf16" if lossless and not intel else before)
    with pytest.raises(KeyError), fast_float32():
        raise KeyError
    assert setting() == before


@pytest.mark.parametrize("shape", [(320, 128, 512), (96, 512, 128), (7, 33, 5)])
def test_products_and_their_gradients_keep_float32(monkeypatch, shape):
    monkeypatch.setattr(precision, "intel", lambda: False)
    m, k, n = shape
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(m, k, generator=generator, requires_grad=True)
    b = torch.randn(k, n, generator=generator, requires_grad=True)
    with fast_float32():
        product = a @ b
        product.sum().backward()
    wide, other = a.detach().double(), b.detach().double()
    torch.testing.assert_close(product.double(), wide @ other, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a.grad.double(), other.sum(1).expand(m, k), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(b.grad.double(), wide.sum(0).unsqueeze(1).expand(k, n), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "told"), [("vendor_id\t: GenuineIntel\n", True), ("vendor_id\t: AuthenticAMD\n", False)]
)
def test_the_processor_is_asked_for_its_maker(monkeypatch, text, told):
    monkeypatch.setattr(precision.Path, "read_text", lambda self, encoding: text)
    precision.intel.cache_clear()
    assert precision.intel() is told
    precision.intel.cache_clear()


def test_without_the_file_of_linux_the_platform_is_asked(monkeypatch):
    def missing(self, encoding):
        raise FileNotFoundError

    monkeypatch.setattr(precision.Path, "read_text", missing)
    monkeypatch.setattr(precision.platform, "processor", lambda: "Intel64 Family 6")
    precision.intel.cache_clear()
    assert precision.intel()
    precision.intel.cache_clear()


def test_rounding_to_bfloat16_would_be_noticed(monkeypatch):
    rounded = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: rounded(a.bfloat16().float(), b))
    exact.cache_clear()
    assert not exact()
    monkeypatch.undo()
    exact.cache_clear()
    exact()
