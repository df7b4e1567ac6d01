"""LinearRecurrent against loops over the formulas of the three recurrences, in double precision."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.small_models import CLIPS, ROWS, SENTENCES, SERIES, TEXTS, build
from tests.subwords import wordpiece
from zoo.domain.text import PAD
from zoo.sequences.layers.blocks import RGLRU, RWKV, S6, SSD, create_block
from zoo.sequences.layers.scan import linear_scan, selective_scan
from zoo.sequences.linear_recurrent import LinearRecurrent

KINDS: tuple[Any, ...] = ("s6", {"kind": "ssd", "heads": 4}, {"kind": "rg_lru", "gate_blocks": 4}, "rwkv")


def double(domain: Any = SENTENCES, **options: Any) -> LinearRecurrent:
    """A model of double precision whose parameters are all drawn, so that none of them is idle."""
    torch.manual_seed(0)
    model = LinearRecurrent(domain, **{"width": 4, "pooling": "mean", **options}).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if isinstance(model.reader.vectors.embedding, torch.nn.Embedding):
            model.reader.vectors.embedding.weight[PAD] = 0
    return model


def recurrence(block: Any, u: Tensor) -> Tensor:
    """The output of a block for token vectors u (T, D) of one input, one step and channel after the other."""
    z = u @ block.value.weight.T
    taps = block.kernel.shape[1]
    v = torch.zeros_like(z)
    for t in range(len(u)):
        for back in range(min(taps, t + 1)):
            v[t] += block.kernel[:, taps - 1 - back] * z[t - back]
        v[t] += 0 if block.bias is None else block.bias
    kind = {S6: s6, SSD: ssd, RGLRU: rg_lru, RWKV: rwkv}[type(block)]
    return kind(block, u, v) @ block.out.weight.T


def s6(block: S6, u: Tensor, v: Tensor) -> Tensor:
    s = v * torch.sigmoid(v)
    low, write, read = block.select(s).split([block.rank, block.states, block.states], 1)
    step, rate = F.softplus(block.step(low)), -block.log_rate.exp()
    state, found = torch.zeros_like(rate), []
    for t in range(len(u)):
        state = torch.exp(step[t, :, None] * rate) * state + step[t, :, None] * write[t] * s[t, :, None]
        found.append(((state * read[t]).sum(1) + block.skip * s[t]) * F.silu(block.gate(u[t])))
    return torch.stack(found)


def ssd(block: SSD, u: Tensor, v: Tensor) -> Tensor:
    s = v * torch.sigmoid(v)
    step, write, read = block.select(s).split([block.heads, block.states, block.states], 1)
    step, size = F.softplus(step + block.step), s.shape[1] // block.heads
    state, found = torch.zeros(s.shape[1], block.states, dtype=s.dtype), []
    for t in range(len(u)):
        for e in range(s.shape[1]):
            own = step[t, e // size]
            decay = torch.exp(-block.log_rate[e // size].exp() * own)
            state[e] = decay * state[e] + own * s[t, e] * write[t]
        found.append((state @ read[t] + block.skip * s[t]) * F.silu(block.gate(u[t])))
    return torch.stack(found)


def rg_lru(block: RGLRU, u: Tensor, v: Tensor) -> Tensor:
    state, found, channels = torch.zeros_like(v[0]), [], v.shape[1]
    size, full = channels // block.gates.blocks, torch.zeros(2 * channels, channels, dtype=v.dtype)
    for row in range(2 * channels):  # a gate reads the channels of its own block
        start = row % channels // size * size
        full[row, start : start + size] = block.gates.weight[row]
    for t in range(len(u)):
        forget, take = (full @ v[t] + block.gates.bias).sigmoid().chunk(2)
        a = torch.exp(-8 * F.softplus(block.decay) * forget)
        state = a * state + (torch.sqrt(1 - a**2) if t else 1.0) * take * v[t]
        found.append(state * F.gelu(block.gate(u[t])))
    return torch.stack(found)


def rwkv(block: RWKV, u: Tensor, v: Tensor) -> Tensor:
    found = []
    key = []
    for t in range(len(u)):
        before = u[t - 1] if t else torch.zeros_like(u[0])
        mixed = [share * u[t] + (1 - share) * before for share in block.mix]
        key.append(12 * torch.tanh(block.key(mixed[0]) / 12))
        powers = [torch.exp(key[j] - (t - j - 1) * block.decay.exp()) for j in range(t)]
        powers.append(torch.exp(key[t] + block.bonus))
        mean = sum(p * v[j] for j, p in enumerate(powers)) / sum(powers)
        found.append(mean * torch.sigmoid(block.gate(mixed[1])))
    return torch.stack(found)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("block", KINDS)
def test_scores_matrix_and_scan_are_the_recurrence(block: Any, pooling: str) -> None:
    model = double(block=block, pooling=pooling, parallel=2)
    x = torch.stack([SENTENCES.preprocess(text) for text in TEXTS])
    (u,), here = model.read(x)
    scores = model.step(x)[0]
    for row, words in enumerate(here.sum(0).long().tolist()):
        mine = u[:words, row]
        outs = [recurrence(one, mine) for one in model.layers[-1].mixers]
        for k, (one, out) in enumerate(zip(model.layers[-1].mixers, outs, strict=True)):
            held: Any = one.observe(u, here)
            offset = one.observe(torch.zeros_like(u), here)
            assert offset.values.abs().max() == 0
            matrix = model.implicit_attention(x[row : row + 1], block=k)[0, :, :words, :words]
            told = torch.einsum("eik,ke->ie", matrix, mine @ one.value.weight.T)
            if held.bias is not None:  # what the bias of the convolution writes, by the matrix G α S
                told = told + bias_path(held, row)[:words]
            torch.testing.assert_close(told @ one.out.weight.T, out, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close((held.push()[:words, row]) @ one.out.weight.T, out, rtol=1e-10, atol=1e-10)
        pooled = sum(outs, mine)
        pooled = pooled.mean(0) if pooling == "mean" else pooled[-1]
        torch.testing.assert_close(scores[row].double(), model.head(pooled), rtol=1e-6, atol=1e-6)


def bias_path(held: Any, row: int) -> Tensor:
    """G α S b of one input (T, E)."""
    found = held.recurrence.matrix() * held.here
    found = found if held.inner is None else found * held.inner
    return (held.outer[:, None] * found * held.bias).sum(1)[:, row]


@torch.no_grad()
@pytest.mark.parametrize("block", KINDS)
def test_contributions_are_sums_of_the_matrix(block: Any) -> None:
    model = double(block=block, parallel=2)
    x = torch.stack([SENTENCES.preprocess(text) for text in TEXTS])
    effects = model.evidence(x).state["unit_logits"]
    for target in range(3):
        through = model.implicit_attention(x, target)
        torch.testing.assert_close(through.sum(1), effects[:, :-1, target], rtol=1e-10, atol=1e-10)
        assert not through.triu(1).abs().max()  # nothing is read before it is written
    zero = [float(v) for v in model.evidence(torch.full_like(x, PAD)).state["unit_logits"].abs().sum((1, 2))]
    assert zero == [0.0] * len(x)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("block", KINDS)
def test_padding_changes_no_score(block: Any, pooling: str) -> None:
    model, long = double(block=block, pooling=pooling, depth=2), replace(SENTENCES, length=40)
    other = double(long, block=block, pooling=pooling, depth=2)
    other.load_state_dict(model.state_dict())
    x = torch.stack([SENTENCES.preprocess(text) for text in TEXTS])
    behind, before = F.pad(x, (0, 33)), F.pad(x[:, :2], (38, 0))
    torch.testing.assert_close(other(behind), model(x))
    torch.testing.assert_close(other(before), model(F.pad(x[:, :2], (0, 5))))


@torch.no_grad()
def test_terms_of_a_series_are_those_of_each_variable_and_stretch() -> None:
    """With the gates held the score is linear: its change when one variable's values are 0 in a stretch."""
    model = double(SERIES, block="s6", elements={"patch": 4})
    x = torch.randn(2, 11, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    told = model.evidence(x).state["unit_logits"]
    names = [unit.name for unit in model.units()]
    assert names == [f"{v} at {t}" for t in (0, 4, 8) for v in ("pulse", "pressure")] + ["bias path"]
    weight = model.reader.vectors.embedding.weight
    block, here = model.layers[-1].mixers[0], model.reader.here(x)
    matrix = model.implicit_attention(x)  # (B, E, T, T)
    for unit in range(6):
        part = torch.zeros_like(x)
        part[:, 4 * (unit // 2) : 4 * (unit // 2) + 4, unit % 2] = 1
        vectors = (x * part) @ weight.T
        out = torch.einsum("beik,bke->bie", matrix, vectors @ block.value.weight.T)
        pooled = (vectors + out @ block.out.weight.T).mean(1)
        torch.testing.assert_close(told[:, unit], pooled @ model.head.weight.T, rtol=1e-10, atol=1e-10)
    support = model.evidence(x).support
    assert support is not None and support[0, 3].nonzero().tolist() == [[1, 1]] and not support[:, -1].any()
    assert float(here.min()) == 1


@torch.no_grad()
def test_terms_of_pieces_and_sentences_are_sums_of_words() -> None:
    domain = replace(SENTENCES, vocabulary=(*SENTENCES.vocabulary, "."))
    words, sentences = double(domain), double(domain, elements={"sentences": 2})
    x = domain.preprocess("good food . bad place loud")[None]
    one, two = (m.evidence(x).state["unit_logits"][0] for m in (words, sentences))
    torch.testing.assert_close(two, torch.stack([one[:3].sum(0), one[3:6].sum(0), one[-1]]))
    assert words.evidence(x).activation[0].tolist() == [1.0] * 6 + [0.0, 1.0]
    domain = replace(SENTENCES, vocabulary=(), tokenizer=wordpiece())
    pieces = double(domain)
    x = domain.preprocess("unbelievable food")[None]  # four pieces of two words
    told, tokens = pieces.evidence(x), pieces.implicit_attention(x, 0).sum(1)[0]
    assert told.activation[0].tolist() == [1.0] * 2 + [0.0] * 5 + [1.0]
    expected = torch.stack([tokens[:3].sum(), tokens[3]])
    torch.testing.assert_close(told.state["unit_logits"][0, :2, 0], expected)


def test_scans_are_their_loops_with_gradients() -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.double, generator=generator).requires_grad_()

    for steps in (1, 5, 37):
        decay, write = drawn(steps, 2, 3), drawn(steps, 2, 3)
        state, states = torch.zeros(2, 3, dtype=torch.double), []
        for t in range(steps):
            state = decay[t].sigmoid() * state + write[t]
            states.append(state)
        same(torch.stack(states), linear_scan(decay.sigmoid(), write), (decay, write))
        shapes = [(steps, 2, 4), (steps, 2, 4), (4, 3), (steps, 2, 3), (steps, 2, 3)]
        x, step, rate, into, out = inputs = tuple(drawn(*shape) for shape in shapes)
        state, found = torch.zeros(2, 4, 3, dtype=torch.double), []
        for t in range(steps):
            state = torch.exp(-step[t].exp()[..., None] * rate.exp()) * state + x[t][..., None] * into[t][:, None]
            found.append((state * out[t][:, None]).sum(2))
        mine = selective_scan(x, step.exp(), -rate.exp(), into, out)
        same(torch.stack(found), mine, inputs)


def same(expected: Tensor, found: Tensor, inputs: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    weight = torch.linspace(-1, 2, expected.numel(), dtype=torch.double).view_as(expected)
    mine, theirs = (torch.autograd.grad((v * weight).sum(), inputs) for v in (found, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("block", KINDS)
def test_long_sequences_of_strong_and_of_no_decay_stay_finite(block: Any) -> None:
    for factor in (-40.0, 40.0):
        torch.manual_seed(0)
        made = create_block(block, 2)
        for name, parameter in made.named_parameters():
            if name in ("log_rate", "decay", "step.bias"):
                parameter.fill_(min(factor, 20.0))
        u = 30 * torch.randn(3000, 1, 2)
        held = made.observe(u, torch.ones(3000, 1))
        reach, offset = held.pull(torch.full((3000, 1), 1 / 3000))
        assert bool(held.push().isfinite().all() and reach.isfinite().all() and offset.isfinite().all())


def test_rows_of_rwkv_are_means_and_rollout_sums_to_one() -> None:
    model = build("linear_recurrent", "rwkv").model
    assert isinstance(model, LinearRecurrent)
    x = SENTENCES.preprocess("good food bad place loud")[None]
    read, here = model.read(x)
    held: Any = model.layers[-1].mixers[0].observe(read[-1], here)
    torch.testing.assert_close(held.recurrence.matrix().sum(1)[:5], torch.ones(5, 1, 4))
    rollout = model.rollout(x)
    torch.testing.assert_close(rollout.sum(2), torch.ones(1, 7))
    assert "has read everything before it" in model.explain(x).statements[0]


def test_other_inputs_and_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="LinearRecurrent reads text, series, audio; got a domain of rows"):
        LinearRecurrent(ROWS)
    with pytest.raises(ValueError, match="block must be one of s6, ssd, rg_lru, rwkv; got 's4'"):
        LinearRecurrent(SERIES, "s4")
    with pytest.raises(TypeError, match="block 'rwkv' has no option 'states'"):
        LinearRecurrent(SERIES, {"kind": "rwkv", "states": 4})
    with pytest.raises(ValueError, match="pooling must be one of mean, last; got 'max'"):
        LinearRecurrent(CLIPS, pooling="max")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="depth must be at least 1; got 0"):
        LinearRecurrent(SERIES, depth=0)
    model = LinearRecurrent(replace(SERIES, length=4000), width=64)
    with pytest.raises(ValueError, match=r"the matrices of 2 inputs have .* Use fewer inputs, or the contributions"):
        model.implicit_attention(torch.zeros(2, 4000, 2))
    with pytest.raises(ValueError, match=r"target must be in \[0, 2\]; got 3"):
        model.implicit_attention(torch.zeros(1, 4000, 2), target=3)
