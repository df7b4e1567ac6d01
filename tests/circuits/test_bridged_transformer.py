"""Bridges: their losses by hand, runs that change networks, what is trained, and checkpoints."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from tests.circuits.bridged import ALL, DENSE, SPARSE, bridged, equivalent
from tests.circuits.tokens import LENGTH, prompts, transformer, windows
from tests.small_code import code_domain
from zoo.circuits import BridgedTransformer
from zoo.circuits.network.bridge_losses import kl_divergence, log_probabilities, nmse, residual_streams, run_from_sites
from zoo.circuits.network.schedule import Schedule

KL = ("kl_dense_to_sparse", "kl_sparse_to_dense")


def batch(count: int = 6) -> dict[str, Tensor]:
    tokens, answers = prompts(count)
    tokens[0, 7:] = 0  # a padded prompt
    return {"input": tokens, "target": answers}


def losses(model: BridgedTransformer) -> dict[str, Tensor]:
    given = batch()
    return model.losses(*model.step(given["input"]), given)


def test_equivalent_networks_have_no_bridge_losses() -> None:
    for scale in (1.0, 3.0):
        found = losses(equivalent(scale))
        for name in found.keys() - {"language"}:
            torch.testing.assert_close(
                found[name], torch.zeros(()), atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n} {m}"
            )
        given = batch()
        alone = transformer(density=1.0, activation_density=1.0)
        language = alone.losses(*alone.step(given["input"]), given)["language"]
        torch.testing.assert_close(found["language"], language)


def test_nmse_by_hand() -> None:
    estimate, target = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))
    real = torch.tensor([[True, True, True], [True, False, False]])
    rows = [(0, 0), (0, 1), (0, 2), (1, 0)]
    mean = torch.stack([target[r] for r in rows]).mean(0)
    error = sum((estimate[r] - target[r]).square().sum() for r in rows) / 4
    variance = (sum((target[r] - mean).square().sum() for r in rows) / 4).item()
    found = nmse(estimate, target, real)
    torch.testing.assert_close(found, error / variance)
    slope = torch.autograd.grad(found, target)[0]  # of the error alone
    torch.testing.assert_close(slope[0, 1], -2 * (estimate - target)[0, 1] / 4 / variance)
    assert bool((slope[1, 1:] == 0).all())


def test_divergence_by_hand() -> None:
    network, tokens = transformer().network, batch()["input"]
    residual = torch.randn(len(tokens), LENGTH, 32, requires_grad=True)
    p = torch.randn(len(tokens), LENGTH, 300).softmax(-1)
    total, count = 0.0, 0
    for i, row in enumerate(tokens):
        for t in range(int((row != 0).sum())):
            normed = residual[i, t] / residual[i, t].square().mean().sqrt() * network.norm.weight
            q = (network.unembedding.weight @ normed + network.bigram[row[t]]).softmax(0)
            total, count = total + (p[i, t] * (p[i, t] / q).log()).sum(), count + 1
    found = kl_divergence(network, residual, tokens, p.log())
    torch.testing.assert_close(found, total / count, rtol=1e-4, atol=1e-5)
    ours, theirs = (torch.autograd.grad(x, residual)[0] for x in (found, total / count))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(kl_divergence(network, residual, tokens, p.log()), found)


@pytest.mark.parametrize("options", [{}, {"positions": {"kind": "learned"}}], ids=["plain", "positions"])
def test_a_run_from_a_site_is_the_rest_of_the_network(options: dict) -> None:
    """It equals the run of a network whose sublayers before the site write nothing."""
    network, tokens = transformer(**options).network, prompts(3)[0]
    start = network.embedding(tokens)
    together = run_from_sites(network, dict.fromkeys((3, 0, 2), start))
    assert list(together) == [0, 2, 3]
    for site in range(4):
        rest = copy.deepcopy(network)
        for before in range(site):
            writer = rest.blocks[before // 2].down if before % 2 else rest.blocks[before // 2].out
            torch.nn.init.zeros_(writer.weight)
            torch.nn.init.zeros_(writer.bias)
        final = rest(tokens, rest.trace(), torch.zeros(3, dtype=torch.long))[0]
        torch.testing.assert_close(run_from_sites(network, {site: start})[site], final)
        if site in together:
            torch.testing.assert_close(together[site], final)


def test_streams_end_in_the_final_residual_stream() -> None:
    network, tokens = transformer().network, prompts(3)[0]
    found = residual_streams(network, tokens)
    assert len(found) == 5
    torch.testing.assert_close(found[-1], network(tokens, network.trace(), torch.zeros(3, dtype=torch.long))[0])
    for site in range(4):  # a run that enters where it was left is the same run
        torch.testing.assert_close(run_from_sites(network, {site: found[site]})[site], found[-1])


def test_the_losses_are_sums_over_sites() -> None:
    model, given = bridged(), batch()
    tokens, net, found = given["input"], model.sparse.network, losses(model)
    real, ours, theirs = tokens != 0, residual_streams(net, tokens), residual_streams(model.dense, tokens)
    reference = log_probabilities(model.dense, theirs[-1], tokens)
    expected = {name: torch.zeros(()) for name in found.keys() - {"language"}}
    for i in range(4):
        up = F.linear(theirs[i], model.encoders[i].weight, model.encoders[i].bias)
        smallest = up.abs().sort(-1, descending=True).values[..., 7:8]  # a quarter of 32 stays
        up = torch.where(up.abs() >= smallest, up, 0.0)
        down = F.linear(ours[i], model.decoders[i].weight, model.decoders[i].bias)
        expected["nmse_dense_to_sparse"] += nmse(up, ours[i], real)
        expected["nmse_sparse_to_dense"] += nmse(down, theirs[i], real)
        expected["kl_dense_to_sparse"] += kl_divergence(net, run_from_sites(net, {i: up})[i], tokens, reference)
        expected["kl_sparse_to_dense"] += kl_divergence(
            model.dense, run_from_sites(model.dense, {i: down})[i], tokens, reference
        )
    for name, value in expected.items():
        assert float(value.detach()) > 0.01
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_fewer_sites_a_step_are_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, model = losses(bridged()), bridged(sites_per_step=1)
    assert model.sites_of_step() == [0, 1, 2, 3]  # outside of training
    model.train()
    drawn = [model.sites_of_step() for _ in range(60)]
    assert {tuple(d) for d in drawn} == {(0,), (1,), (2,), (3,)}
    each = []
    for site in range(4):
        monkeypatch.setattr(model, "sites_of_step", lambda s=site: [s])
        each.append(losses(model))
    for name, value in whole.items():
        torch.testing.assert_close(
            torch.stack([e[name] for e in each]).mean(), value, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert not torch.isclose(each[0][KL[0]], each[3][KL[0]], rtol=1e-3)
    model = bridged(sites_per_step=3).train()
    assert all(len(set(model.sites_of_step())) == 3 for _ in range(20))


def test_a_step_teaches_everything_but_the_dense_network() -> None:
    model = bridged().train()
    before = copy.deepcopy(model.state_dict())
    optimizer = model.configure_optimizers()
    assert [g["name"] for g in optimizer.param_groups] == ["sparse", "encoders", "decoders"]
    assert optimizer.decays == [0.1, 0.0, 0.0]
    optimizer.schedule = Schedule(10, model.sparse.density, model.sparse.embedding_density, end=0)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    torch.stack(list(losses(model).values())).sum().backward()
    assert all(p.grad is None for p in model.dense.parameters())
    for name, p in model.named_parameters():
        if not name.startswith("dense."):
            assert p.grad is not None and bool((p.grad != 0).any()), name
    optimizer.step()
    for name, value in model.state_dict().items():
        learns = name.startswith(("encoders", "decoders", "sparse.network"))
        assert torch.equal(value, before[name]) != learns, name
    for sparse in model.sparse.sparse_parameters():
        assert int((sparse.weight != 0).sum()) == sparse.budget((0.25, 0.25)).keep
    assert bool((model.encoders[0].weight != 0).all())


@pytest.mark.parametrize(("name", "other"), [(KL[0], "decoders"), (KL[1], "encoders")])
def test_each_direction_teaches_its_own_bridge(name: str, other: str) -> None:
    model = bridged()
    losses(model)[name].backward()
    own = ({"encoders", "decoders"} - {other}).pop()
    assert all(p.grad is None for p in getattr(model, other).parameters())
    assert all(bool((p.grad != 0).any()) for p in getattr(model, own).parameters())


def test_explanations_are_those_of_the_sparse_network() -> None:
    model, tokens = bridged(), prompts(3)[0]
    model.average(windows())
    assert bool(model.sparse.averaged)
    mine, its = model.explain(tokens).check(), model.sparse.explain(tokens)
    assert torch.equal(mine.scores, its.scores) and torch.equal(mine.contributions, its.contributions)
    with pytest.raises(TypeError, match=r"circuit must be a zoo\.circuits\.Circuit"):
        model.explain(tokens, circuit="quotes")


def test_a_checkpoint_needs_no_other_file(tmp_path: Path) -> None:
    dense = transformer(density=1.0, activation_density=1.0)
    folder = zoo.save(dense, tmp_path / "dense")
    weights = str(folder / "model.safetensors")
    sizes = {"width": 32, "layers": 2, "head_width": 8, "sparsity": ALL}
    for given in (str(folder), {**sizes, "weights": str(folder)}, {**sizes, "weights": weights}):
        model = BridgedTransformer(code_domain(LENGTH), given, SPARSE).eval()
        for name, value in dense.network.state_dict().items():
            assert torch.equal(model.dense.state_dict()[name], value), name
    before, at = losses(model), zoo.save(model, tmp_path / "bridged")
    shutil.rmtree(folder)
    loaded = zoo.load(at)
    assert isinstance(loaded, BridgedTransformer)
    for name, value in losses(loaded).items():
        assert torch.equal(value, before[name]), name


def test_invalid_dense_networks(tmp_path: Path) -> None:
    domain = code_domain(LENGTH)
    fine = zoo.save(transformer(density=1.0, activation_density=1.0), tmp_path / "fine")
    other = zoo.save(bridged(), tmp_path / "bridged")
    (tmp_path / "broken").write_text("pickle")
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "config.yaml").write_text("{")
    cases = {
        f"no checkpoint of a dense model at {tmp_path}/nowhere": str(tmp_path / "nowhere"),
        "contains 'bridged_transformer'; the dense model must be a sparse_transformer": str(other),
        "is not valid YAML": str(tmp_path / "yaml"),
        "arguments but no weights; add 'weights'": {k: v for k, v in DENSE.items() if k != "weights"},
        "'dense' has no key 'widht'; did you mean 'width'": {"widht": 3, "weights": str(fine)},
        "is not a valid safetensors file": {**DENSE, "weights": str(tmp_path / "broken")},
        "no weights of a dense model at": {**DENSE, "weights": str(tmp_path / "none")},
        r"'network.embedding.weight' of shape \(300, 24\); got \(300, 32\)": {**DENSE, "weights": str(fine)},
    }
    for message, given in cases.items():
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            BridgedTransformer(domain, given, SPARSE)
    with pytest.raises(ValueError, match="has 300 tokens and prompts of 12, this one has 300 tokens and prompts of 9"):
        BridgedTransformer(code_domain(9), str(fine), SPARSE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparse": {"layers": 3}}, r"the sparse network has 3, the dense one 2. Give sparse: \{layers: 2\}"),
        ({"sparse": {"layer": 2}}, "'sparse' has no key 'layer'; did you mean 'layers'"),
        ({"sites_per_step": 5}, "sites_per_step must be from 1 to the 4 sites; got 5"),
        ({"encoder_density": 0.0}, r"encoder_density must be in \(0, 1\]; got 0.0"),
        ({"recipe": {"coefficients": {"kl": 1.0}}}, "no loss term 'kl'"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bridged(**options)


def test_the_dense_network_is_not_a_parameter_group() -> None:
    assert list(bridged().groups()) == ["sparse", "encoders", "decoders"]


def test_gradients_are_normalised_in_each_group() -> None:
    """Regression: gradients of untrained bridges are huge, and reduced those of the sparse network to almost zero."""
    model = bridged().train()
    optimizer = model.configure_optimizers()
    optimizer.schedule = Schedule(10, model.sparse.density, model.sparse.embedding_density, end=0)
    torch.stack(list(losses(model).values())).sum().backward()
    for p in model.encoders.parameters():
        p.grad.mul_(1e4)
    optimizer.step()
    for name, group in model.groups().items():
        every = torch.cat([p.grad.flatten() for p in group.parameters()])
        assert float(every.square().mean().sqrt()) == pytest.approx(1.0, rel=0.01), name


def test_bridges_start_at_the_sizes_of_both_streams() -> None:
    model = BridgedTransformer(code_domain(LENGTH), DENSE, {**SPARSE, "width": 128}, encoder_density=1.0)
    tokens = model.domain.example(8, torch.Generator().manual_seed(0))
    ours, theirs = residual_streams(model.sparse.network, tokens), residual_streams(model.dense, tokens)
    rms = lambda t: float(t.detach().square().mean().sqrt())  # noqa: E731
    for i in range(4):
        assert rms(model.encode(i, theirs[i])) == pytest.approx(rms(ours[i]), rel=0.3)
        assert rms(model.decode(i, ours[i])) == pytest.approx(rms(theirs[i]), rel=0.3)
