"""`zoo.load(device=, dtype=)`: float64 sums to a billion times less; half precision is measured, or refused."""

from pathlib import Path

import pytest
import torch

import zoo
from tests.small_models import protopnet
from zoo.checkpoints import placement
from zoo.checkpoints.golden import golden_inputs
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.tensor_files import read_tensors

EXACT = ("protopnet-mnist", "rrl-xor", "sop-motions", "cem-part-birds", "knn-graph-tree-cycles", "self-ablating-idioms")


@pytest.mark.parametrize("name", EXACT)
def test_float64_is_exact(name: str) -> None:
    model, usual = zoo.load(name, dtype="float64"), zoo.load(name)
    x = golden_inputs(usual, read_tensors(find(name) / "golden.safetensors")["inputs"])
    told, before = model.explain(x), usual.explain(x)
    assert {t.dtype for t in (told.scores, told.contributions, told.bias) if t is not None} == {torch.float64}
    assert told.contributions is not None
    assert float(told.gap().max()) < 1e-12 * float(1 + told.contributions.abs().sum(1).max())
    torch.testing.assert_close(told.scores.float(), before.scores, rtol=1e-4, atol=1e-4)
    strongest = told.top(1)[0][0].unit.name  # an intervention, and a page
    evidence = model.step(model._cast(x))[1]
    left = model.readout(model.ablate(evidence, [strongest])).gather(1, told.target[:, None])[:, 0]
    zero = told.relative_to("zero") if "zero" in told.references else told
    torch.testing.assert_close(left[0], zero.without([strongest])[0], rtol=1e-9, atol=1e-9)
    assert len(told._repr_html_()) > 1000


def test_half_precision_is_told_or_refused() -> None:
    with pytest.warns(
        UserWarning, match="in bfloat16: on its golden inputs, scores differ by up to .* miss the scores"
    ):
        model = zoo.load("protopnet-mnist", dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    told = model.explain(model.domain.example(2, torch.Generator().manual_seed(0))).check()
    assert told.scores.dtype == torch.float32 and len(told._repr_html_()) > 1000
    with pytest.raises(
        ValueError, match=r"SumOfParts of .* cannot compute in float16 .* Use float32, or torch.autocast"
    ):
        zoo.load("sop-motions", dtype="float16")


def test_sums_that_half_precision_breaks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose scores are computed otherwise in half precision: the measured gap is told."""
    torch.manual_seed(0)
    folder = zoo.save(protopnet().model, tmp_path / "checkpoint")
    readout = zoo.prototypes.ProtoPNet.readout
    off = lambda self, evidence: readout(self, evidence) + (0.5 if self.dtype == torch.half else 0.0)  # noqa: E731
    monkeypatch.setattr(zoo.prototypes.ProtoPNet, "readout", off)
    monkeypatch.setattr(zoo.prototypes.ProtoPNet, "_check", lambda *_: None)
    with pytest.raises(ValueError, match=r"in float16 is refused: contributions miss the scores .* by 0\.5"):
        zoo.load(folder, dtype="float16")


def test_parts_that_stay_in_float32_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    folder = zoo.save(protopnet().model, tmp_path / "checkpoint")
    step = zoo.prototypes.ProtoPNet.step
    single = lambda self, x: (lambda scores, e: (scores.float(), e))(*step(self, x))  # noqa: E731
    monkeypatch.setattr(zoo.prototypes.ProtoPNet, "step", single)
    with pytest.raises(ValueError, match=r"cannot compute in float64: it has parts in torch.float32"):
        zoo.load(folder, dtype="float64")


def test_what_is_not_there_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="a model computes in float32, float64, float16, bfloat16; got dtype='int8'"):
        zoo.load("no such checkpoint", dtype="int8")
    with pytest.raises(ValueError, match="device='meta' is not available"):
        zoo.load("no such checkpoint", device="meta")
    with pytest.raises(ValueError, match=r"device='cuda:77' is not available .* here are: cpu"):
        placement.device_of("cuda:77")
    assert zoo.load("rrl-xor", device=torch.device("cpu"), dtype=torch.float32).dtype == torch.float32
