"""Spectral dictionaries against a loop over their formula; what they read, their losses, names and pages."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.small_code import code_domain
from tests.small_models import PROMPTS
from zoo.sequences import SpectralDictionary
from zoo.sequences.spectral_dictionary import magnitudes
from zoo.views.html import page


def small(**options: object) -> SpectralDictionary:
    torch.manual_seed(0)
    given = {"atoms": 5, "width": 4, "taps": 3, "fastest": 3.0, **options}
    model = SpectralDictionary(code_domain(), **given).double().eval()  # pyright: ignore[reportArgumentType]
    torch.nn.init.normal_(model.bias)
    return model


def by_hand(model: SpectralDictionary, tokens: list[int]) -> tuple[Tensor, Tensor]:
    """Coefficients (K,) and what each atom gives to each token (K, V), after the last of some tokens."""
    u, atoms = model.embedding.weight, model.atoms
    coefficients, given = [], []
    for k in range(5):
        total = model.mixing.bias[k].clone()  # pyright: ignore[reportOptionalSubscript]
        for back, token in enumerate(reversed(tokens[-3:])):
            total += sum(model.mixing.weight[k, d, 2 - back] * u[token, d] for d in range(4))
        coefficients.append(max(float(total), 0.0))
        atom = []
        for d in range(4):
            value = float(atoms.amplitude[k, d])
            if atoms.frequencies != "none":
                own = atoms.frequency[k, d if atoms.frequencies == "dimension" else 0]
                value *= math.sin(2 * math.pi * float(own) * (len(tokens) - 1) / 12 + float(atoms.phase[k, d]))
            atom.append(value)
        given.append(u.double() @ torch.tensor(atom, dtype=torch.double))
    return torch.tensor(coefficients, dtype=torch.double), torch.stack(given)


@torch.no_grad()
@pytest.mark.parametrize("frequencies", ["atom", "dimension", "none"])
def test_scores_are_the_sum_over_atoms(frequencies: str) -> None:
    model = small(frequencies=frequencies)
    x = torch.stack([model.domain.preprocess(text) for text in PROMPTS])
    scores, told = model.step(x)
    target = torch.tensor([7, 99, 3, 250, 41])
    contributions, bias = model.attribute(told, target)
    for row, length in enumerate((x > 0).sum(1).tolist()):
        coefficients, given = by_hand(model, x[row, :length].tolist())
        torch.testing.assert_close(told.activation[row].double(), coefficients, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(scores[row].double(), model.bias + coefficients @ given, rtol=1e-5, atol=1e-5)
        expected = coefficients * given[:, target[row]]
        torch.testing.assert_close(contributions[row].double(), expected, rtol=1e-5, atol=1e-5)
        assert abs(float(bias[row]) - float(model.bias[target[row]])) < 1e-6
        wave = model.details(told, target)["wave"][row, :, length - 1].double()
        torch.testing.assert_close(wave, given[:, target[row]], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_an_atom_repeats_after_its_period() -> None:
    model = small(fastest=0.0)
    model.atoms.frequency.copy_(torch.tensor([3.0, -3.0, 2.0, 0.0, 4.0])[:, None])
    assert model.atoms.periods() == [4, 4, 6, None, 3]
    wave = model.atoms(torch.arange(12))
    for k, period in enumerate((4, 4, 6, 1, 3)):
        torch.testing.assert_close(wave[period:, k], wave[:-period, k])
    assert [unit.source["period"] for unit in model.units()] == [4, 4, 6, None, 3]


def test_nothing_but_the_last_tokens_counts() -> None:
    """Not the tokens before them, and while training not those after a token, which are its answer."""
    model = small().train()
    x = torch.randint(2, 300, (2, 12), generator=torch.Generator().manual_seed(1))
    other = x.clone()
    other[:, :9] = torch.randint(2, 300, (2, 9), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model(x), model(other))
    assert not torch.allclose(model(x), model(torch.cat([x[:, :9], other[:, :1], x[:, 10:]], 1)))
    later = x.clone()
    later[:, 7:] = 5
    first, second = (model.evidence(each).state["coefficients"] for each in (x, later))
    torch.testing.assert_close(first[:, :7], second[:, :7])
    support = model.eval().evidence(x).support
    assert support is not None and not support[..., :9].any() and bool((support.amax(2) == 1).all())


@torch.no_grad()
def test_losses_are_about_the_next_tokens() -> None:
    model = small().float()
    x = torch.randint(2, 300, (2, 12), generator=torch.Generator().manual_seed(1))
    x[1, 5:], target = 0, torch.tensor([17, 0])  # padding after four tokens that have a next one
    found = model.losses(*model.step(x), {"input": x, "target": target})
    nats, squares, made, wanted = [], [], torch.zeros(2, 12, 4).double(), torch.zeros(2, 12, 4).double()
    for row, length in ((0, 12), (1, 4)):
        for t in range(length):
            coefficients, given = by_hand(model, x[row, : t + 1].tolist())
            following = int(x[row, t + 1]) if t < 11 else 17
            nats.append(F.cross_entropy(model.bias + coefficients @ given, torch.tensor(following)))
            made[row, t] = coefficients @ model.atoms(torch.tensor([t]))[0].double()
            wanted[row, t] = model.embedding.weight[following]
            squares.append((made[row, t] - wanted[row, t]).square().mean())
    torch.testing.assert_close(found["language"].double(), torch.stack(nats).mean(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["reconstruction"].double(), torch.stack(squares).mean(), rtol=1e-5, atol=1e-5)
    apart = (magnitudes(made) - magnitudes(wanted)).abs().mean()
    torch.testing.assert_close(found["spectrum"].double(), apart, rtol=1e-5, atol=1e-5)


def test_magnitudes_are_those_of_windowed_frames() -> None:
    line = torch.randn(40, generator=torch.Generator().manual_seed(0)).double()
    found = magnitudes(line[None, :, None])[0]
    window = torch.tensor([0.5 - 0.5 * math.cos(2 * math.pi * n / 16) for n in range(16)]).double()
    for frame, start in enumerate(range(0, 25, 8)):
        expected = torch.fft.rfft(line[start : start + 16] * window).abs()
        torch.testing.assert_close(found[:, frame], expected, rtol=1e-4, atol=1e-5)
    assert found.shape == (9, 4)
    assert magnitudes(torch.zeros(1, 3, 1)).shape == (1, 2, 1)  # shorter than a frame


def test_a_page_draws_what_each_atom_gives_by_position() -> None:
    model = small(atoms=4).float()
    told = model.explain(model.domain.preprocess("for a\n")[None])
    drawn = page(told, ["prompt"])
    unit = told.top(1)[0][0].unit
    assert "<polyline" in drawn and f"period {unit.source['period']:,.0f} tokens" in drawn
    assert "reads; lines by how much each token moves the activation" in drawn
    assert "gives most to" in unit.source["text"] and unit.name.startswith("atom ")
    assert len(told.to_dict()[0]["evidence"][0]["wave"]) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"atoms": 0}, "atoms must be at least 1; got 0"),
        ({"taps": 0}, "taps must be at least 1; got 0"),
        ({"frequencies": "atoms"}, "frequencies must be one of atom, dimension, none; got 'atoms'. Did you mean"),
        ({"fastest": 7.0}, r"fastest must be in \[0, 6.0\]; got 7.0"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)
