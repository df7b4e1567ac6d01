"""B-cos transformers: scores, W(x) and the part of the positions as a product of explicit matrices."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from tests.small_models import IMAGES, bcos
from zoo.networks.bcos_transformer import HeldLayerNorm, PositionCodes, Transformer, bcos_transformer
from zoo.networks.dynamic_linear import HeldConv
from zoo.parts.bcos import POSITION

SIZE, SIDE, WIDTH, HEADS = (12, 10), 2, 8, 2
TOKENS = 30  # 6 x 5


def shaken(model: nn.Module) -> nn.Module:
    """The model with layer norms that differ from the identity."""
    for module in model.modules():
        if isinstance(module, HeldLayerNorm):
            module.weight.data.uniform_(0.5, 1.5)
    return model.eval()


class Affine:
    """States (N D,) as an affine function of the encoded pixels u: z = J u + p, token by token."""

    def __init__(self, u: Tensor) -> None:
        self.u, self.j, self.p = u, torch.eye(len(u), dtype=u.dtype), torch.zeros_like(u)

    @property
    def z(self) -> Tensor:
        return self.j @ self.u + self.p

    def apply(self, matrix: Tensor) -> None:
        self.j, self.p = matrix @ self.j, matrix @ self.p


def of_tokens(each: list[Tensor]) -> Tensor:
    """The matrix that applies a matrix to each token."""
    return torch.block_diag(*each)


def bcos_matrix(layer: HeldConv, z: Tensor, tokens: int) -> Tensor:
    """Equation 3 of the paper: rows |cos(z, w)| w / |w|, for each token."""
    weight = layer.weight.detach().to(z).flatten(1)
    found = []
    for token in z.view(tokens, -1):
        unit = weight / weight.norm(dim=1, keepdim=True)
        found.append((unit @ token).abs()[:, None] / (token.square().sum() + 1e-6).sqrt() * unit)
    return of_tokens(found)


def norm_matrix(layer: HeldLayerNorm, z: Tensor, tokens: int) -> Tensor:
    width = len(z) // tokens
    centre = torch.eye(width, dtype=z.dtype) - 1 / width
    deviations = [(token.var(correction=0) + 1e-5).sqrt() for token in z.view(tokens, -1)]
    return of_tokens([layer.weight.detach().to(z)[:, None] * centre / deviation for deviation in deviations])


def attention_matrix(layer: nn.Module, z: Tensor) -> Tensor:
    """Head by head: softmax of query times key, then the values that it mixes, up to the output layer."""
    tokens, part = z.view(TOKENS, WIDTH), WIDTH // HEADS
    query, key = (tokens @ w.detach().to(z).T for w in layer.query_key.weight.chunk(2))
    value = layer.value.weight.detach().to(z).flatten(1)
    mixed = torch.zeros(TOKENS, WIDTH, TOKENS, WIDTH, dtype=z.dtype)
    for head in range(HEADS):
        rows = slice(head * part, (head + 1) * part)
        attention = (query[:, rows] @ key[:, rows].T / math.sqrt(part)).softmax(1)
        mixed[:, rows] = torch.einsum("nm,dc->ndmc", attention, value[rows])
    return mixed.view(TOKENS * WIDTH, TOKENS * WIDTH)


def by_matrices(model: nn.Module, u: Tensor) -> tuple[Tensor, Tensor]:
    """W (C, 6 H W) and the part of the positions (C,) of one encoded image (6, H, W), in float64."""
    embed, positions, *blocks, _, norm = model.backbone.layers
    order = torch.arange(u.numel()).view(u.shape)  # from pixels to patches, as the embedding reads them
    order = F.unfold(order[None].double(), SIDE, stride=SIDE)[0].T.flatten().long()
    state = Affine(u.double().flatten())
    state.apply(torch.eye(u.numel(), dtype=torch.float64)[order])
    state.apply(bcos_matrix(embed, state.z, TOKENS))
    state.p = state.p + positions.codes.double().flatten(1).T.flatten()
    for block in blocks:
        first, *rest = block.body.layers
        before = Affine(state.u)
        before.j, before.p = state.j, state.p
        state.apply(norm_matrix(first, state.z, TOKENS))
        if len(rest) == 1:
            state.apply(attention_matrix(rest[0], state.z))
            rest = [rest[0].out]
        for layer in rest:
            state.apply(bcos_matrix(layer, state.z, TOKENS))
        state.j, state.p = state.j + before.j, state.p + before.p
    state.apply(torch.eye(WIDTH, dtype=torch.float64).repeat(1, TOKENS) / TOKENS)
    state.apply(norm_matrix(norm, state.z, 1))
    state.apply(bcos_matrix(model.head, state.z, 1))
    return state.j, state.p


def test_scores_and_contributions_are_a_product_of_explicit_matrices() -> None:
    torch.manual_seed(0)
    sizes = {"width": WIDTH, "depth": 2, "heads": HEADS, "hidden": 12, "side": SIDE, "codes": 0.5}
    model = shaken(zoo.create_model("bcos", domain=IMAGES, transformer=sizes))
    x = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        u = model.encoded(x)
        evidence = model.evidence(x)
    for target in range(3):
        towards = F.one_hot(torch.tensor([target] * 2), 3).float()
        with torch.no_grad():
            own, shift = model.dynamic_weights(evidence, towards)
        explanation = model.explain(x, target).check()
        assert explanation.units[-1].name == POSITION and len(explanation.units) == 10
        for row in range(2):
            weights, positions = (found[target] for found in by_matrices(model, u[row]))
            weights = weights.view(u[row].shape)
            torch.testing.assert_close(own[row].double(), weights, rtol=1e-4, atol=1e-7)
            assert float(shift[row]) == pytest.approx(float(positions), rel=1e-4, abs=1e-6)
            score = (weights * u[row]).sum() + positions + model.bias[target]
            assert float(explanation.scores[row, target]) == pytest.approx(float(score), rel=1e-5)
            corner = (weights * u[row])[:, 8:, 8:].sum()  # the last patch, cut off at the right
            assert float(explanation.contributions[row, 8]) == pytest.approx(float(corner), rel=1e-4, abs=1e-7)
            assert float(explanation.contributions[row, 9]) == pytest.approx(float(positions), rel=1e-4, abs=1e-6)
    assert "position" in explanation.statements[0]


def test_without_codes_the_pixels_explain_all() -> None:
    torch.manual_seed(0)
    sizes = {"width": 8, "depth": 1, "side": 2, "codes": 0.0}
    model = shaken(zoo.create_model("bcos", domain=IMAGES, transformer=sizes))
    explanation = model.explain(torch.randn(2, 3, *SIZE), 0).check()
    assert torch.equal(explanation.contributions[:, -1], torch.zeros(2))
    torch.testing.assert_close(explanation.contributions.sum(1) + explanation.bias, explanation.scores[:, 0])


def test_position_codes_are_the_published_ones() -> None:
    codes = PositionCodes(12, (3, 4), 2.0).codes
    for row, column in ((0, 0), (2, 1), (1, 3)):
        for k in range(3):
            angle = 10_000.0 ** (-k / 2)
            expected = [f(n * angle) for n in (column, row) for f in (math.sin, math.cos)]
            assert codes[k::3, row, column].tolist() == pytest.approx([2 * value for value in expected], abs=1e-5)


@pytest.mark.parametrize(
    ("sizes", "b", "max_out"),
    [
        (Transformer(width=8, depth=2, heads=1, side=1, stem=(8, 8, 12), values=2.0), 2.0, 1),
        (Transformer(width=12, depth=1, heads=3, side=3, stem=(12,), values=1.5), 1.5, 2),
    ],
)
def test_networks_with_a_stem_are_the_transpose_of_their_transpose(sizes: Transformer, b: float, max_out: int) -> None:
    """The held network gives its own output, is linear, and Σ g y = Σ g' x + shift for any x and g."""
    torch.manual_seed(0)
    network = shaken(bcos_transformer(6, (12, 12), b, max_out, sizes)).double()
    assert network.measure((12, 12)) == (1, 1)
    x, other, one = torch.rand(2, 6, 12, 12).double(), torch.randn(2, 6, 12, 12).double(), torch.ones(2, 1, 1, 1)
    with torch.no_grad():
        y, kept = network.hold(x)
        assert y.shape == (2, sizes.width, 1, 1) and len(kept) == network.keeps()
        torch.testing.assert_close(network.linear(x, one, kept), y)
        g = torch.randn_like(y)
        back, shift = network.transpose(g, kept)
        assert shift is not None
        torch.testing.assert_close((g * y).sum((1, 2, 3)), (back * x).sum((1, 2, 3)) + shift)
        torch.testing.assert_close(
            (g * network.linear(other, 3 * one, kept)).sum((1, 2, 3)), (back * other).sum((1, 2, 3)) + 3 * shift
        )


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 10, "heads": 1}, "multiple of 4 and of heads; got width 10"),
        ({"width": 12, "heads": 5}, "multiple of 4 and of heads"),
        ({"width": 4}, "width must be at least 8"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"hidden": 0, "side": 2}, "hidden must be at least 1"),
        ({"codes": -1.0}, "codes must be at least 0"),
        ({"values": 0.5}, "values must be at least 1"),
        ({"stem": [0]}, "at least 1 channel in each layer"),
        ({"side": 8}, "do not fill a map of 12 x 10"),
        ({"side": 2, "stem": [8]}, "do not fill a map of 6 x 5"),
        ({"patch": 8}, "transformer has no option 'patch'"),
        ([8], "transformer must be a mapping"),
    ],
)
def test_bad_sizes_are_refused(sizes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("bcos", domain=IMAGES, transformer=sizes)


def test_a_transformer_is_no_backbone() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        zoo.create_model("bcos", domain=IMAGES, transformer={}, backbone={"name": "convnet"})
    teacher = nn.Module()
    with pytest.raises(ValueError, match="needs the same `backbone`"):
        bcos("transformer").model.copy_teacher(teacher)
