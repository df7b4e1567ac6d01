"""B-cos networks: layers by formula, W(x) by autograd with detached factors, and networks that were B-cosified."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

import zoo
from tests.small_models import IMAGES, ROWS, bcos
from zoo.networks.bcosify import bcosify
from zoo.networks.dynamic_linear import Gate, HeldConv
from zoo.networks.dynamic_pools import AveragePool, MaxPool
from zoo.networks.trunks import Trunk
from zoo.parts.bcos import BIASES
from zoo.training.black_box_file import Network, save_network

CONVNET = {"name": "convnet", "widths": [6, 8], "pool": [0]}


def perturbed(network: nn.Module) -> nn.Module:
    """The network with batch norms that differ from the identity, in evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data.copy_(0.5 + torch.rand_like(tensor))
    return network.eval()


@pytest.mark.parametrize(("b", "max_out", "groups"), [(2.0, 1, 1), (1.5, 2, 1), (2.5, 1, 2), (1.0, 2, 1)])
def test_a_layer_is_the_published_formula(b: float, max_out: int, groups: int) -> None:
    """One output at a time, from the patch that it reads; the factor has 1e-6 beside the norm or the cosine."""
    torch.manual_seed(0)
    layer = HeldConv(torch.randn(4 * max_out, 6 // groups, 3, 3), b, (2, 2), (1, 1), groups=groups, max_out=max_out)
    x = torch.randn(2, 6, 7, 6)
    assert layer.measure((7, 6)) == (4, 3)
    y = layer(x).detach()
    patches = F.unfold(x, 3, padding=1, stride=2).view(2, groups, -1, 4, 3)
    for out, row, column in ((0, 0, 0), (1, 3, 2), (3, 2, 1)):
        group = out * groups // 4
        patch = patches[1, group, :, row, column]
        units = layer.weight.detach()[out * max_out : (out + 1) * max_out].flatten(1)
        best = max(units, key=lambda unit: float(unit @ patch / unit.norm()))
        linear = best @ patch / best.norm()
        cosine = linear / patch.norm()
        torch.testing.assert_close(y[1, out, row, column], cosine.abs() ** (b - 1) * linear, rtol=1e-4, atol=1e-4)


def by_autograd(model: nn.Module, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Encoded inputs and W(x) of one score: the published way, with patches unfolded and factors detached."""
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (IMAGES.mean, IMAGES.std))
    image = x * std + mean
    u = torch.cat([image, 1 - image], 1).requires_grad_()
    z = u
    for layer in [*model.backbone.layers, model.head]:
        if not isinstance(layer, HeldConv):
            z = z * layer.weight[:, None, None] / (layer.variance[:, None, None] + 1e-5).sqrt()
            continue
        weight = layer.weight.flatten(1)
        patches = F.unfold(z, layer.weight.shape[2:], padding=layer.padding, stride=layer.stride)
        out = (weight / weight.norm(dim=1, keepdim=True)) @ patches
        if layer.max_out > 1:
            out = out.unflatten(1, (-1, layer.max_out)).amax(2)
        norm = (patches.square().sum(1, keepdim=True) + 1e-6).sqrt()
        factor = (out / norm).abs().detach() if layer.b == 2 else ((out / norm).abs().detach() + 1e-6) ** (layer.b - 1)
        size = [
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip(z.shape[2:], layer.padding, layer.weight.shape[2:], layer.stride, strict=True)
        ]
        z = (out * factor).unflatten(2, size)
    score = z.mean((2, 3))[:, target] + model.bias[target]
    return u.detach(), torch.autograd.grad(score.sum(), u)[0]


@pytest.mark.parametrize("variant", [None, "maxout"])
def test_the_map_is_the_gradient_with_detached_factors(variant: str | None) -> None:
    small = bcos(variant) if variant else bcos()
    model, x = small.model, small.inputs
    for module in model.modules():  # as after training
        if hasattr(module, "variance"):
            module.variance.copy_(0.5 + torch.rand_like(module.variance))
    u, weights = by_autograd(model, x, 1)
    with torch.no_grad():
        evidence = model.evidence(x)
        own, _ = model.dynamic_weights(evidence, F.one_hot(torch.ones(5, dtype=torch.long), 3).float())
    torch.testing.assert_close(evidence.state["encoded"], u)
    torch.testing.assert_close(own, weights, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close((weights * u).sum((1, 2, 3)) + model.bias[1], model(x)[:, 1], rtol=1e-5, atol=1e-5)
    explanation = model.explain(x, 1)
    each = (weights * u).sum(1)
    assert model.units()[0].name == "patch at 0, 0" and len(model.units()) == 9  # 12 x 10 pixels, patches of 4
    torch.testing.assert_close(explanation.contributions[:, 0], each[:, :4, :4].sum((1, 2)), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(explanation.contributions[:, 8], each[:, 8:, 8:].sum((1, 2)), rtol=1e-4, atol=1e-6)
    shown = explanation.details["weights"].unflatten(2, (6, 4, 4))
    torch.testing.assert_close(shown[:, 3], weights[:, :, 4:8, :4], rtol=1e-4, atol=1e-6)


def test_with_b_one_and_biases_a_converted_network_is_its_teacher(tmp_path) -> None:
    """Scores of the black box, gradient times input as contributions, and what is left is the unit of biases."""
    torch.manual_seed(0)
    teacher = perturbed(Network(IMAGES, CONVNET))
    save_network(teacher, {"domain": IMAGES.to_dict(), "backbone": CONVNET}, tmp_path)
    model = zoo.create_model("bcos", domain=IMAGES, backbone=CONVNET, b=1.0, biases=True, patch=2).eval()
    model.copy_teacher(teacher)
    x = torch.randn(4, 3, 12, 10).requires_grad_()
    scores = teacher(x)
    torch.testing.assert_close(model(x.detach()), scores.detach(), rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(scores[:, 2].sum(), x)
    explanation = model.explain(x.detach(), 2).check()
    each = F.avg_pool2d((gradient * x).detach().sum(1, keepdim=True), 2).flatten(1) * 4
    torch.testing.assert_close(explanation.contributions[:, :-1], each, rtol=1e-4, atol=1e-5)
    assert explanation.units[-1].name == BIASES and explanation.contributions[:, -1].abs().min() > 1e-3
    plain = zoo.create_model("bcos", domain=IMAGES, backbone=CONVNET, b=2.0).eval()
    plain.copy_teacher(teacher)
    variance = next(m.running_var for m in teacher.modules() if isinstance(m, nn.BatchNorm2d))
    assert torch.equal(plain.backbone.layers[1].variance, variance)
    other = Network(IMAGES, {**CONVNET, "widths": [4, 8]})
    with pytest.raises(ValueError, match="another backbone"):
        plain.copy_teacher(other)
    with pytest.raises(ValueError, match="needs the same `backbone`"):
        bcos().model.copy_teacher(teacher)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_resnet_of_torchvision_keeps_its_map(block: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = perturbed(ResNet(block, [1, 1, 1, 1], num_classes=3))
    x = torch.randn(2, 3, 40, 36)
    trunk = Trunk(network, "layer4", "fc", "map").eval()
    expected = trunk(x)
    chain = bcosify(trunk, 1.0, True).eval()
    assert chain.measure((40, 36)) == tuple(expected.shape[2:])
    with torch.no_grad():
        u, one = torch.cat([x, -x], 1), torch.ones(2, 1, 1, 1)
        found, kept = chain.hold(u)
        scale = expected.abs().max()
        assert (found - expected).abs().max() < 1e-5 * scale
        assert len(kept) == chain.keeps()
        assert (chain.linear(u, one, kept) - expected).abs().max() < 1e-4 * scale
        g = torch.randn_like(expected)
        back, shift = chain.transpose(g, kept)
        score, parts = (g * expected).sum((1, 2, 3)), (back * u).sum((1, 2, 3)) + shift
        torch.testing.assert_close(parts, score, rtol=1e-3, atol=float(1e-4 * scale))


@pytest.mark.parametrize("layer", [AveragePool((3, 2), (2, 2), (1, 0)), MaxPool((3, 3), (2, 2), (1, 1))])
def test_pools_are_the_transpose_of_their_transpose(layer: nn.Module) -> None:
    torch.manual_seed(0)
    x, other = torch.randn(2, 3, 8, 7), torch.randn(2, 3, 8, 7)
    size = layer.measure((8, 7))
    y, kept = layer.hold(x)
    kind = F.max_pool2d if isinstance(layer, MaxPool) else F.avg_pool2d
    assert torch.equal(y, kind(x, layer.kernel, layer.stride, layer.padding)) and tuple(y.shape[2:]) == size
    one, g = torch.ones(2, 1, 1, 1), torch.randn_like(y)
    torch.testing.assert_close(layer.linear(x, one, kept), y)
    back, shift = layer.transpose(g, kept)
    assert shift is None
    torch.testing.assert_close((g * layer.linear(other, one, kept)).sum(), (back * other).sum())


@pytest.mark.parametrize("function", [F.relu, nn.ReLU(), nn.SiLU(), nn.GELU(), nn.Hardswish(), nn.ReLU6()])
def test_a_gate_is_the_quotient_and_its_gradient_is_finite(function) -> None:
    """Regression: next to 0, the derivative of f(x) / x was NaN or noise, and so were losses on explanations."""
    x = torch.tensor([-8.0, -2.0, -1e-3, -1e-8, -1e-30, 0.0, 1e-40, 1e-20, 1e-7, 0.3, 2.0, 9.0], requires_grad=True)
    y, (factor,) = Gate(function).eval().hold(x)
    torch.testing.assert_close(factor * x, y, rtol=1e-6, atol=0)
    (slope,) = torch.autograd.grad(factor.sum(), x) if factor.requires_grad else (torch.zeros_like(x),)
    wide = torch.tensor([-8.0, -2.0, 0.3, 2.0, 9.0], dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad((function(wide) / wide).sum(), wide)
    torch.testing.assert_close(slope[[0, 1, 9, 10, 11]], exact.float(), rtol=1e-4, atol=1e-5)
    assert slope.isfinite().all() and slope.abs().max() < 10


def test_the_loss_is_the_published_one() -> None:
    """Binary cross-entropy with 1 / C as target of the other classes."""
    small = bcos()
    scores = torch.tensor([[2.0, -1.0, 0.5]])
    terms = small.model.losses(scores, None, {"input": small.inputs[:1], "target": torch.tensor([0])})
    p = scores.sigmoid()[0].double()
    others = sum(-(p[c].log() / 3 + (1 - p[c]).log() * 2 / 3) for c in (1, 2))
    assert float(terms["task"]) == pytest.approx(float((-p[0].log() + others) / 3), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"b": 0.5}, "b must be at least 1"),
        ({"max_out": 0}, "max_out must be at least 1"),
        ({"widths": [8], "strides": [2, 2]}, "must name the same layers"),
        (
            {"widths": [8] * 3, "strides": [9, 9, 9], "backbone": {"name": "vit_tiny_patch16_224"}},
            "cannot be B-cosified",
        ),
        ({"biases": True}, "from scratch has no biases"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"backbone": {"name": "efficientnet_b0"}}, "cannot be B-cosified"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("bcos", domain=IMAGES, **options)


def test_tables_and_grouped_first_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="Bcos reads images"):
        zoo.create_model("bcos", domain=ROWS)
    with pytest.raises(ValueError, match="read all channels at once"):
        bcosify(nn.Sequential(nn.Conv2d(3, 3, 3, groups=3)), 2.0, False)
    with pytest.raises(ValueError, match="no convolution"):
        bcosify(nn.Sequential(nn.ReLU()), 2.0, False)
    with pytest.raises(ValueError, match="padding must be a number"):
        bcosify(nn.Sequential(nn.Conv2d(3, 4, 3, padding="same")), 2.0, False)
