"""Two processes that measure half of the samples each end with the result of one."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing as mp

from tests.metrics.faithfulness.linear_model import SIDE, Pixels
from zoo.metrics.faithfulness import (
    Case,
    Compactness,
    EvidenceDeletionGain,
    FaithfulnessMetric,
    MaskOutAgreement,
    Subject,
)
from zoo.metrics.faithfulness.imputers import Mean


def measured(rows: list[int]) -> list[FaithfulnessMetric]:
    torch.manual_seed(0)
    model = Pixels()
    x = torch.randn(21, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    imputers = [Mean(torch.zeros(2, 1, SIDE, SIDE), model.domain)]
    metrics = [MaskOutAgreement(imputers, masks=6), EvidenceDeletionGain(imputers, steps=4), Compactness()]
    for metric in metrics:
        metric.update(Case(Subject(model), x[rows], torch.tensor(rows)))
    return metrics


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    metrics = measured([row for row in range(21) if row % 2 == rank])  # 11 rows and 10
    found = {metric.key: [list(v[:3]) for v in metric.intervals().values()] for metric in metrics}
    means = {metric.key: torch.stack(list(metric.compute().values())) for metric in metrics}
    torch.save({"found": found, "means": means}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    whole = measured(list(range(21)))
    for rank in (0, 1):
        told = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for metric in whole:
            for mine, theirs in zip(metric.intervals().values(), told["found"][metric.key], strict=True):
                assert theirs == pytest.approx(list(mine[:3]), abs=1e-6, nan_ok=True)
            means = torch.stack(list(metric.compute().values()))
            torch.testing.assert_close(told["means"][metric.key], means, atol=1e-6, rtol=0, equal_nan=True)
