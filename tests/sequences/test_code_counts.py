"""Code counts against loops over the formula, the codebook against its definition, also on two processes."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import start_processes
from torch.utils.data import Dataset

from tests.small_models import ROWS, SERIES, Examples, build
from zoo.domain import SeriesDomain
from zoo.sequences.code_counts import CodeCounts
from zoo.sequences.layers.codebook import SMOOTHING, Codebook, CodebookOptions
from zoo.training.projection_set import ProjectionSet
from zoo.training.sparse_head import run_on
from zoo.training.stages import Stage

TINY = CodebookOptions(codes=5, dim=3, decay=0.5)


def tiny(**options: object) -> CodeCounts:
    model = CodeCounts(replace(SERIES, length=23), 6, 0.5, 8, TINY, **options).eval()  # pyright: ignore[reportArgumentType]
    torch.nn.init.normal_(model.codes.codebook.codes)
    return model


def codes_of(model: CodeCounts, series: list[float]) -> list[int]:
    """The codes of the windows of one variable of a series: 6 steps, every 3."""
    length, found = 6, []
    starts = [3 * p for p in range(math.ceil((len(series) - length) / 3) + 1)]
    full = series + [series[-1]] * (starts[-1] + length - len(series))
    encoder = model.codes.encoder.double()
    for start in starts:
        window = full[start : start + length]
        spectrum = []
        for f in range(length // 2 + 1):
            real = sum(v * math.cos(2 * math.pi * f * t / length) for t, v in enumerate(window))
            imaginary = sum(v * math.sin(2 * math.pi * f * t / length) for t, v in enumerate(window))
            spectrum.append(math.log(1 + math.hypot(real, imaginary)))
        e = encoder(torch.tensor([*window, *spectrum], dtype=torch.float64))
        e = (e - e.mean()) / (e.var(correction=0) + 1e-5).sqrt()
        distances = [float((e - code.double()).square().sum()) for code in model.codes.codebook.codes]
        found.append(distances.index(min(distances)))
    encoder.float()
    return found


@torch.no_grad()
@pytest.mark.parametrize("per_sensor", [True, False])
def test_counts_pairs_and_supports_are_those_of_loops(per_sensor: bool) -> None:
    model = tiny(per_sensor=per_sensor, bigrams=True)
    x = torch.randn(4, 23, 2)
    explanation = model.explain(x).check()
    names = [unit.name for unit in explanation.units]
    for b in range(4):
        counts: dict[str, int] = dict.fromkeys(names, 0)
        places: dict[str, set[tuple[int, int]]] = {name: set() for name in names}
        for v, sensor in enumerate(SERIES.variables):
            end = f" of {sensor}" if per_sensor else ""
            codes = codes_of(model, x[b, :, v].tolist())
            assert len(codes) == 7  # the last window starts at step 18 and ends with the last value, repeated
            for p, code in enumerate(codes):
                steps = {(t, v) for t in range(3 * p, min(3 * p + 6, 23))}
                keys = [(f"pattern {code + 1}{end}", steps)]
                if p:
                    more = {(t, v) for t in range(3 * p - 3, 3 * p)}
                    keys.append((f"pattern {codes[p - 1] + 1}, then {code + 1}{end}", steps | more))
                for name, where in keys:
                    counts[name] += 1
                    places[name] |= where
        assert explanation.activation[b].tolist() == [counts[name] for name in names]
        assert explanation.support is not None
        for k, name in enumerate(names):
            assert {(t, v) for t, v in explanation.support[b, k].nonzero().tolist()} == places[name]
    singles = explanation.activation[:, : model.places * 5]
    assert singles.sum(1).tolist() == [2.0 * 7] * 4  # V P
    assert (explanation.activation.sum(1) - singles.sum(1)).tolist() == [2.0 * 6] * 4


@torch.no_grad()
def test_setting_a_count_moves_the_score_by_its_weight() -> None:
    model = tiny(per_sensor=False)
    scores, evidence = model.step(torch.randn(3, 23, 2))
    edited = model.readout(model.edit(evidence, {"pattern 2": 9.0}))
    moved = (9 - evidence.activation[:, 1:2]) * model.head.weight[:, 1]
    torch.testing.assert_close(edited - scores, moved)


def test_the_choice_is_hard_and_has_the_gradient_of_a_softmax() -> None:
    book = Codebook(TINY).eval()
    e = torch.randn(6, 3, requires_grad=True)
    distance, index, codes = book(e)
    every = (e[:, None] - book.codes).square().mean(2)
    torch.testing.assert_close(distance, every)
    assert torch.equal(index, every.argmin(1)) and torch.equal(codes, book.codes[index])
    choice, weight = book.assign(distance, index), torch.randn(6, 5)
    torch.testing.assert_close(choice.detach(), torch.eye(5)[index])
    (found,) = torch.autograd.grad((choice * weight).sum(), e, retain_graph=True)
    (expected,) = torch.autograd.grad(((-distance / 0.1).softmax(1) * weight).sum(), e)
    torch.testing.assert_close(found, expected)


def test_codes_follow_the_encodings_by_moving_averages() -> None:
    book = Codebook(replace(TINY, dead=0.0)).train()
    first = torch.randn(30, 3)
    book(first)
    size, total, codes = book.size.clone(), book.total.clone(), book.codes.clone()
    batch = torch.randn(30, 3)
    index = (batch[:, None] - codes).square().sum(2).argmin(1)
    book(batch)
    for k in range(5):
        mine = batch[index == k]
        size[k] = 0.5 * size[k] + 0.5 * len(mine)
        total[k] = 0.5 * total[k] + 0.5 * mine.sum(0)
    smooth = (size + SMOOTHING) / (size.sum() + 5 * SMOOTHING) * size.sum()
    torch.testing.assert_close(book.codes, total / smooth[:, None])
    state = {name: value.clone() for name, value in book.state_dict().items()}
    with torch.no_grad():
        book(batch)  # no learning without gradients
    book.eval()(batch)
    assert all(torch.equal(value, state[name]) for name, value in book.state_dict().items())


def test_unused_codes_are_drawn_anew_from_the_batch() -> None:
    book = Codebook(TINY).train()
    batch = torch.randn(40, 3)
    book(batch)
    book.codes[2] = 100.0
    for _ in range(6):  # 1, 0.5, ... of one window is below 0.1 after four steps
        book(batch)
    assert float(book.codes.abs().max()) < 10 and bool((book.size >= 0.1).all())
    e = torch.randn(2, 3)
    few = Codebook(TINY).train()
    few(e)  # fewer encodings than codes
    assert bool(few.codes.isfinite().all())


def _on_a_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    batches = torch.randn(3, 40, 3, generator=torch.Generator().manual_seed(7))
    torch.manual_seed(rank)
    book = Codebook(replace(TINY, dead=2.0)).train()
    for batch in batches:
        book(batch[rank::2])
    torch.save(dict(book.state_dict()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_codes_are_the_same_on_all_ranks(tmp_path: Path) -> None:
    start_processes(_on_a_rank, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["size"].sum() > 0 and all(torch.equal(first[name], second[name]) for name in first)


class Waves(Dataset):
    """Series of slow or fast waves with a random phase, in noise."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.targets = torch.arange(count) % 2
        phase = torch.rand(count, 1, generator=generator) * 6
        time = torch.arange(48) * torch.where(self.targets == 0, 0.4, 1.3)[:, None]
        self.x = (torch.sin(time + phase) + 0.2 * torch.randn(count, 48, generator=generator))[..., None]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input": self.x[i], "target": self.targets[i]}


def test_a_short_training_tells_waves_apart_and_shows_its_codes() -> None:
    domain = SeriesDomain(classes=("slow", "fast"), variables=("volt",), length=48, mean=(3.0,), std=(2.0,))
    model, train = CodeCounts(domain, 12, codebook=CodebookOptions(codes=12, dim=8, decay=0.9)), Waves(64, 0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        batch = {"input": train.x, "target": train.targets}
        terms = model.losses(*model.step(train.x), batch)
        assert terms.keys() == model.coefficients.keys()
        optimizer.zero_grad()
        torch.stack([model.coefficients[name] * term for name, term in terms.items()]).sum().backward()
        optimizer.step()
    for name in ("fit_head", "gather"):
        run_on(model, Stage(name), ProjectionSet(train))
    test = Waves(40, 1)
    explanation = model.eval().explain(test.x).check()
    assert (explanation.scores.argmax(1) == test.targets).float().mean() > 0.9
    with torch.no_grad():
        coded = model.codes(train.x)
        windows = model.codes.windows(train.x)
    for k, unit in enumerate(model.units()):
        chose = coded.choice[..., k] > 0  # (B, V, P)
        if not bool(chose.any()):
            assert not unit.source
            continue
        pattern = unit.source["pattern"]
        assert pattern["windows"] == int(chose.sum())
        far = coded.distance[..., k].masked_fill(~chose, torch.inf).flatten(1)
        nearest, place = far.min(1)
        rows = nearest.isfinite().nonzero()[:, 0]
        shown = windows.flatten(1, 2)[rows, place[rows]][nearest[rows].argsort()[:50]]
        expected = shown.median(0).values * 2 + 3
        torch.testing.assert_close(torch.tensor(pattern["median"]), expected, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="CodeCounts reads series; got a domain of rows"):
        CodeCounts(ROWS)
    with pytest.raises(ValueError, match=r"window must be a share .* to its 11 steps; got 12"):
        CodeCounts(SERIES, 12)
    with pytest.raises(ValueError, match="20,200 units are more than 20,000; give fewer codes, or leave out bigrams"):
        CodeCounts(SERIES, 4, codebook=CodebookOptions(codes=100), bigrams=True, per_sensor=True)
    with pytest.raises(ValueError, match="bigrams need two windows or more, but one covers the series"):
        CodeCounts(SERIES, 11, bigrams=True)
    with pytest.raises(ValueError, match="codes must be at least 2; got 1"):
        CodebookOptions(codes=1)
    model = build("code_counts").model
    assert isinstance(model, CodeCounts)
    with pytest.raises(ValueError, match="the training set is empty"):
        run_on(model, Stage("gather"), ProjectionSet(Examples(torch.zeros(0, 11, 2))))
