"""Sparse codes: each kind against an independent formula, dictionaries that are found again, and what a file keeps."""

import warnings
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from torch.nn import functional as F

from zoo.concepts.layers.archetypes import ROUNDS, centres_of
from zoo.concepts.layers.code_kinds import make_dictionary
from zoo.concepts.layers.sparse_codes import KINDS, CodeOptions, Dictionary

N, D, M, K = 12, 5, 9, 3
X = torch.randn(N, D, generator=torch.Generator().manual_seed(3)) * 2 + 1


def dictionary(kind: str, **options: Any) -> Dictionary:
    """A dictionary with drawn weights, offset, mean and scale, in evaluation mode."""
    torch.manual_seed(0)
    made = make_dictionary(D, CodeOptions(**{"kind": kind, "atoms": M, "active": K, **options}))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
        if kind == "jumprelu":
            made.get_parameter("log_threshold").copy_(torch.linspace(-2, 0, M))
    made.centre(torch.linspace(0, 1, D), torch.tensor(2.5))
    return made.eval()


def by_hand(made: Dictionary, kind: str) -> Tensor:
    """Codes of X, row by row and in fp64."""
    atoms = made.weight.detach().double()
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    codes = []
    for row in X.double():
        x = (row - made.mean) / made.scale - made.offset.detach()
        z = torch.zeros(M, dtype=torch.double)
        if kind == "mp":
            for _ in range(K):
                left = x - z @ atoms
                best = max(range(M), key=lambda k, left=left: float(left @ atoms[k]))
                z[best] += max(float(left @ atoms[best]), 0.0)
        elif kind == "snmf":
            z = best_code(x, atoms, made.options.shrink)
        else:
            scores = (made.encoder.weight.double() @ x + made.encoder.bias).detach()
            for k in range(M):
                kept = {
                    "vanilla": lambda k: True,
                    "topk": lambda k, s=scores: int((s > s[k]).sum()) < K,
                    "batch_topk": lambda k, s=scores: s[k] >= made.get_buffer("threshold"),
                    "jumprelu": lambda k, s=scores: s[k] > made.get_parameter("log_threshold")[k].exp(),
                }[kind](k)
                z[k] = scores[k] if kept and scores[k] > 0 else 0.0
        codes.append(z * made.scale)
    return torch.stack(codes).float()


def best_code(x: Tensor, atoms: Tensor, shrink: float) -> Tensor:
    """The code that meets the conditions of a minimum, among those of all sets of at most d atoms."""
    pull, between = atoms @ x - shrink, atoms @ atoms.T
    for size in range(D + 1):
        for chosen in map(list, combinations(range(M), size)):
            z = torch.zeros(M, dtype=torch.double)
            z[chosen] = torch.linalg.solve(between[chosen][:, chosen], pull[chosen])
            if (z >= 0).all() and (between @ z - pull >= -1e-9).all():
                return z
    raise AssertionError("no set of atoms has the best code")


@pytest.mark.parametrize("kind", KINDS)
def test_codes_by_hand(kind: str) -> None:
    made = dictionary(kind)
    if kind == "batch_topk":
        made.get_buffer("threshold").fill_(0.4)
    with torch.no_grad():
        found, expected = made(X), by_hand(made, kind)
        assert 0 < (expected > 0).float().mean() < 1
        torch.testing.assert_close(found.code, expected, rtol=1e-4, atol=1e-4 if kind == "snmf" else 1e-5)
        atoms = F.normalize(made.weight, dim=1)
        rebuilt = expected @ atoms + made.mean + made.scale * made.offset
        torch.testing.assert_close(found.code @ made.atoms + made.bias, rebuilt, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.error, (X - rebuilt).square().sum(1) / 2.5**2, rtol=1e-3, atol=1e-4)
        penalty = {"vanilla": expected.sum(1) / 2.5, "jumprelu": (expected > 0).float().sum(1)}
        torch.testing.assert_close(found.penalty, penalty.get(kind, torch.zeros(N)), rtol=1e-4, atol=1e-4)


def test_jump_relu_has_the_published_gradients() -> None:
    """Rajamanoharan et al., equations 11 and 12: -θ/ε K and -1/ε K within half a bandwidth of θ, K = 1."""
    made = dictionary("jumprelu", bandwidth=0.2).train()
    scores = torch.randn(50, M, generator=torch.Generator().manual_seed(1)).requires_grad_()
    log_threshold = made.get_parameter("log_threshold")
    theta = log_threshold.detach().exp()
    near = ((scores - theta).abs() < 0.1).float()
    assert near.sum() > 3
    z, penalty = made.select(scores)  # pyright: ignore[reportCallIssue]
    (slope,) = torch.autograd.grad(z.sum(), log_threshold, retain_graph=True)
    torch.testing.assert_close(slope, (-theta / 0.2 * near).sum(0) * theta)
    (slope,) = torch.autograd.grad(penalty.sum(), log_threshold, retain_graph=True)
    torch.testing.assert_close(slope, (-1 / 0.2 * near).sum(0) * theta)
    (slope,) = torch.autograd.grad(z.sum(), scores)
    torch.testing.assert_close(slope, (scores > theta).float())


def test_batch_topk_keeps_so_many_of_a_batch_and_a_file_keeps_its_threshold(tmp_path) -> None:
    made = dictionary("batch_topk").train()
    z = made(X).code
    assert int((z > 0).sum()) == N * K
    first = made.get_buffer("threshold").item()
    assert first == pytest.approx((z[z > 0].min() / made.scale).item(), rel=1e-5)
    made(X * 2)
    second = made.get_buffer("threshold").item()
    made.eval()
    before = made(X).code
    torch.testing.assert_close(made(X[:1]).code, before[:1])
    assert made.get_buffer("threshold").item() == second != first
    save_file(made.state_dict(), tmp_path / "code.safetensors")
    other = make_dictionary(D, CodeOptions(kind="batch_topk", atoms=M, active=K)).eval()
    other.load_state_dict(load_file(tmp_path / "code.safetensors"))
    assert torch.equal(other(X).code, before)


def test_encoder_and_dictionary_share_no_memory() -> None:
    made = make_dictionary(D, CodeOptions(atoms=M, active=K))
    assert torch.equal(made.encoder.weight, made.weight)
    before = made.weight.detach().clone()
    with torch.no_grad():
        made.encoder.weight.add_(1.0)
    assert torch.equal(made.weight, before)


def test_what_matching_pursuit_leaves_is_orthogonal_to_the_last_atom_and_never_grows() -> None:
    sizes = []
    for steps in range(1, 6):
        made = dictionary("mp", active=steps)
        with torch.no_grad():
            found = made(X)
            left, shorter = (
                X - found.code @ made.atoms - made.bias,
                dictionary("mp", active=steps - 1)(X).code if steps > 1 else 0.0,
            )
            added, last = (found.code - shorter).max(1)  # nothing, where all products are below 0
            assert (left * made.atoms[last]).sum(1)[added > 1e-4].abs().max() < 1e-4
        sizes.append(found.error)
    assert all(bool((b <= a + 1e-6).all()) for a, b in pairwise(sizes))


@pytest.mark.parametrize("kind", ["topk", "mp"])
def test_dead_atoms_learn_from_the_error_alone(kind: str) -> None:
    made = dictionary(kind, dead_after=3).train()
    if kind == "topk":
        made.encoder.bias.data.add_(3.0)  # all scores are above 0
    code = made(X).code
    dead = torch.zeros(M, dtype=torch.bool).index_fill(0, (code > 0).sum(0).argsort()[:2], True)
    x = X[(code[:, dead] == 0).all(1)]
    assert made(x).auxiliary == 0  # idle for two steps at most
    made.idle.copy_(torch.where(dead, 3, 0))
    found = made(x)
    with torch.no_grad():
        left = (x - found.code @ made.atoms - made.bias) / made.scale
        scores = left @ made.atoms.T if kind == "mp" else made.encoder(x / 2.5 - made.mean / 2.5 - made.offset)
        z = scores.relu() * dead  # both, as d / 2 = 2
        expected = (left - z @ made.atoms).square().sum() / left.square().sum()
    torch.testing.assert_close(found.auxiliary, expected, rtol=1e-4, atol=1e-5)
    if kind == "topk":
        (slope,) = torch.autograd.grad(found.auxiliary, made.encoder.weight)
        assert bool((slope[~dead] == 0).all()) and bool((slope[dead] != 0).any())


def planted(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, 10), codes (N, 20) with 3 active atoms each, and atoms (20, 10)."""
    draw = torch.Generator().manual_seed(0)
    atoms = F.normalize(torch.randn(20, 10, generator=draw), dim=1)
    chosen = torch.rand(count, 20, generator=draw).topk(3, 1).indices
    code = torch.zeros(count, 20).scatter(1, chosen, torch.rand(count, 3, generator=draw) + 0.5)
    return code @ atoms, code, atoms


def test_topk_finds_the_dictionary_again() -> None:
    features, _, atoms = planted(4096)
    torch.manual_seed(0)
    made = make_dictionary(10, CodeOptions(atoms=20, active=3)).train()
    mean = features.mean(0)
    made.centre(mean, (features - mean).square().sum(1).mean().sqrt())
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(500):
        found = made(features[torch.randint(len(features), (128,))])
        optimizer.zero_grad()
        (found.error.mean() + found.auxiliary / 32).backward()
        optimizer.step()
    assert (atoms @ made.atoms.T).max(1).values.mean() >= 0.9
    assert made(features).error.mean() < 0.2


def test_matching_pursuit_finds_the_support() -> None:
    features, code, atoms = planted(2000)
    made = make_dictionary(10, CodeOptions(kind="mp", atoms=20, active=3)).eval()
    basis = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(1)))[0]
    orthogonal = make_dictionary(20, CodeOptions(kind="mp", atoms=20, active=3)).eval()
    with torch.no_grad():
        made.weight.copy_(atoms * 7)  # their length does not count
        found = made(features).code.topk(3, 1).indices
        assert code.gather(1, found).gt(0).float().mean() > 0.8  # atoms are at up to 0.74 of each other
        orthogonal.weight.copy_(basis)
        torch.testing.assert_close(orthogonal(code @ basis).code, code, rtol=1e-4, atol=1e-4)


def test_semi_nmf_is_as_close_as_the_published_updates() -> None:
    """Ding, Li, Jordan: least squares for the atoms, multiplicative updates for the codes, over all rows at once."""
    draw = np.random.default_rng(0)
    a = np.maximum(draw.normal(size=(120, 4)), 0) @ draw.normal(size=(4, 8)) + 0.1 * draw.normal(size=(120, 8))
    y = draw.uniform(size=(120, 4))
    for _ in range(500):
        z = np.linalg.solve(y.T @ y + 1e-6 * np.eye(4), y.T @ a)
        pull, between = a @ z.T, z @ z.T
        y *= np.sqrt(
            (np.maximum(pull, 0) + y @ np.maximum(-between, 0))
            / (np.maximum(-pull, 0) + y @ np.maximum(between, 0) + 1e-9)
        )
    published = np.square(a - y @ z).sum() / np.square(a).sum()
    torch.manual_seed(0)
    made = make_dictionary(8, CodeOptions(kind="snmf", atoms=4, active=1, shrink=0.0)).train()
    x = torch.from_numpy(a).float()
    optimizer = torch.optim.Adam([made.weight], lr=3e-2)
    for _ in range(150):
        optimizer.zero_grad()
        made(x).error.sum().backward()
        optimizer.step()
    ours = made(x).error.sum() / x.square().sum()
    assert 0 < published < 0.05
    assert ours < 1.05 * published


def archetypal(deviation: float = 0.3) -> Dictionary:
    torch.manual_seed(0)
    made = make_dictionary(D, CodeOptions(atoms=M, active=K, archetypes=4, deviation=deviation))
    made.centre(X.mean(0), torch.tensor(2.0))
    return made


def test_archetypal_atoms_by_hand() -> None:
    made = archetypal()
    made.start(X.repeat(3, 1))
    parts = made.archetypes
    assert parts is not None
    assert torch.equal(made.encoder.weight, made.atoms)
    with torch.no_grad():
        parts.weight.add_(torch.randn(M, 4))
        made.weight.copy_(torch.randn(M, D) * torch.linspace(0.01, 1, M)[:, None])
    for k, atom in enumerate(made.atoms.detach().double().numpy()):
        shares = parts.weight[k].detach().double().numpy() ** 2
        hull = shares / shares.sum() @ parts.centres.double().numpy()
        free = made.weight[k].detach().double().numpy()
        expected = hull + free * min(1, 0.3 / np.linalg.norm(free))
        assert atom == pytest.approx(expected, abs=1e-5)
        assert np.linalg.norm(atom - hull) <= 0.3 + 1e-6
    twin = archetypal()
    twin.load_state_dict(made.state_dict())
    assert torch.equal(twin.atoms, made.atoms)
    assert torch.equal(twin.eval()(X).code, made.eval()(X).code)


def test_archetypes_are_the_centres_of_k_means() -> None:
    rows = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    # scikit-learn's, from the same start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(5, init=rows[:5].numpy(), n_init=1, max_iter=ROUNDS, tol=0, algorithm="lloyd").fit(rows.numpy())
    torch.testing.assert_close(centres_of(rows, 5), torch.from_numpy(found.cluster_centers_), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="300 archetypes need as many feature vectors; the training set has 200"):
        centres_of(rows, 300)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "top"}, "kind must be one of vanilla, topk, .* did you mean 'topk'|kind must be one of"),
        ({"atoms": 4, "active": 5}, "active must be at most atoms, 4; got 5"),
        ({"bandwidth": 0.0}, "bandwidth must be above 0; got 0.0"),
        ({"deviation": -1.0}, "deviation must be at least 0; got -1.0"),
        ({"kind": "mp", "archetypes": 5}, "archetypes are for new dictionaries of topk, .*, not the kind mp"),
        ({"source": "a", "archetypes": 5}, "archetypes are .*, not a dictionary of a"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodeOptions(**options)
