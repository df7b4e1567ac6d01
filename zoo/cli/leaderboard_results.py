"""What the leaderboard measures on a model: its accuracy, its own explanation, and post-hoc explanations of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from zoo.cli.checkpoint_data import accuracy
from zoo.cli.evaluate_faithfulness import to_dict
from zoo.cli.leaderboard_models import Candidate
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.metrics.concepts.report import plain
from zoo.metrics.faithfulness import Subject
from zoo.metrics.faithfulness.encoding import Evaluator
from zoo.metrics.faithfulness.funnybirds import protocol_intervals
from zoo.metrics.faithfulness.part_reactions import Removals, react, remove
from zoo.metrics.faithfulness.posthoc import METRICS, MODALITIES
from zoo.metrics.faithfulness.posthoc_methods import POSTHOC
from zoo.metrics.faithfulness.rows import NumberedBatches, factors_of, reference_inputs
from zoo.metrics.faithfulness.suite import measure
from zoo.training.modes import evaluating
from zoo.training.staged_module import StagedModule
from zoo.utils.collate import collate


@dataclass(frozen=True)
class Measurement:
    """What is measured on every model, on the same rows.

    Attributes:
        data: a data module, set up for testing.
        metrics: keys of metrics of built-in explanations; post-hoc methods skip those that do not suit patches.
        methods: names of post-hoc methods, see `POSTHOC`.
        limit: number of test rows for the metrics.
        seed: of all randomness.
        memory: largest size in bytes of the outputs of all layers in one forward pass.
        evaluator: required by M10.
    """

    data: DataModule
    metrics: tuple[str, ...]
    methods: tuple[str, ...]
    limit: int
    seed: int
    memory: int
    evaluator: Evaluator | None

    @cached_property
    def reference(self) -> Tensor:
        """(M, *shape) training inputs."""
        return reference_inputs(self.data.projection_dataset())

    def results(self, candidate: Candidate, model: StagedModule) -> dict[str, Any]:
        """The accuracy of a model on all test rows, and the metrics of its explanations on `limit` of them."""
        start = time.perf_counter()
        result: dict[str, Any] = {
            "name": candidate.name,
            "seed": candidate.seed,
            "mark": candidate.mark,
            "twin": candidate.black_box,
            "model": type(model).__name__,
            "parameters": sum(p.numel() for p in model.parameters()),
        }
        with evaluating(model):
            loader = DataLoader(self.data.test_dataset(), self.data.batch_size, collate_fn=collate)
            result["accuracy"] = accuracy(model, loader)
            removals = self.removals(model)
            memo: dict[bytes, Tensor] = {}  # the explanations of a model are evaluated on many of the same inputs
            if isinstance(model, SelfInterpretable):
                own = Subject(model, self.memory)
                own.memo = memo
                result["metrics"] = self.explained(own, self.metrics, removals)
            if model.domain.modality in MODALITIES:
                chosen, result["methods"] = tuple(key for key in self.metrics if key in METRICS), {}
                for name in self.methods:
                    subject = POSTHOC[name](model, self.reference.mean(0), limit=self.memory)
                    subject.memo = memo
                    result["methods"][name] = self.explained(subject, chosen, removals)
        return result | {"seconds": round(time.perf_counter() - start, 1)}

    def explained(self, subject: Subject, metrics: Sequence[str], removals: Mapping[str, Removals]) -> dict[str, Any]:
        """The metrics of an explanation, and the FunnyBirds protocol where the data has removable parts."""
        factors, remove_factor = factors_of(self.data, "test")
        results = measure(
            subject,
            self.batches("test"),
            self.reference,
            metrics,
            seed=self.seed,
            progress=True,
            factors=factors,
            remove_factor=remove_factor,
            evaluator=self.evaluator,
        )
        found = {key: to_dict(result) for key, result in results.items()}
        return found | ({"FunnyBirds": self.parts_protocol(subject, removals)} if removals else {})

    def parts_protocol(self, subject: Subject, removals: Mapping[str, Removals]) -> dict[str, Any]:
        """The FunnyBirds protocol, with the threshold chosen on validation rows."""
        title = "FunnyBirds protocol"
        data: Any = self.data  # a PartBenchmark, see `removals`
        first = next(iter(self.batches("test")))["input"][:1]
        if subject.explain(first.to(subject.model.device)).support is None:
            return {"title": title, "not applicable": "needs units with a location in the input (supports)"}
        test, val = (
            react(subject, data, split, self.batches(split), True, removals[split], rivals=split == "test")
            for split in ("test", "val")
        )
        sufficient = [data.minimal_sufficient(c) for c in range(len(data.domain["classes"]))]
        found = protocol_intervals(test, val, data.class_parts, sufficient)
        values = {
            name: {"value": plain(value), "low": plain(low), "high": plain(high), "direction": 1}
            for name, (value, low, high) in found.items()
        }
        return {"title": title, "values": values}

    def removals(self, model: StagedModule) -> dict[str, Removals]:
        """The scores of a model without parts, by split; empty if the data has no removable parts."""
        data: Any = self.data
        if not hasattr(data, "subsets"):
            return {}
        scored = Scored(model, self.memory)
        return {split: remove(scored, data, split, self.batches(split), True) for split in ("test", "val")}

    def batches(self, split: str) -> NumberedBatches:
        """The rows of a split, the same for every explanation."""
        dataset = self.data.test_dataset() if split == "test" else self.data.val_dataset()
        return NumberedBatches(dataset, self.limit, self.data.batch_size)


class Scored(Subject):
    """A model without an explanation, also a black box."""

    def __init__(self, model: StagedModule, limit: int) -> None:
        self.model, self.domain, self.limit = model.eval(), model.domain, limit
        self.additive, self.name = False, type(model).__name__
