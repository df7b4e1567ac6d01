"""CEBaB: restaurant reviews with annotated aspects."""

import json
import zipfile
from typing import Any

from zoo.data.base.text import TextData, Texts
from zoo.utils.checks import check_choice
from zoo.utils.paths import expand


class CEBaB(TextData):
    """CEBaB 1.1: restaurant reviews of one to five stars, with food, ambiance, service and noise as concepts.

    Each aspect is negative, positive or unknown: unknown if annotators disagreed, missing if it was not annotated.
    Reviews without a majority rating are left out. Official splits.

    Abraham et al.: "CEBaB: Estimating the Causal Effects of Real-World Concepts on NLP Model Behavior", NeurIPS 2022.

    Args:
        root: folder with CEBaB-v1.1.zip or what it unpacks to; by default $ZOO_DATA/text/cebab.
        train: training texts: "inclusive" (originals and edits), "exclusive" (one of each) or "observational"
            (originals).
        pairs: items have a "pair", another text of the same original review: an edit, or the original.
        **texts: the options of `TextData`.
    """

    def __init__(
        self, root: str = "$ZOO_DATA/text/cebab", train: str = "inclusive", pairs: bool = False, **texts: Any
    ) -> None:
        super().__init__(**texts)
        check_choice(("inclusive", "exclusive", "observational"), train=train)
        self.root, self.train, self.pairs = expand(root), train, pairs

    def read(self) -> dict[str, Texts]:
        files = {"train": f"train_{self.train}", "val": "dev", "test": "test"}
        return {split: _reviews(self._records(f"{name}.json"), self.pairs) for split, name in files.items()}

    def _records(self, name: str) -> list[dict[str, Any]]:
        for path in (self.root / name, self.root / "CEBaB-v1.1" / name):
            if path.is_file():
                return json.loads(path.read_text(encoding="utf-8"))
        archive = self.root / "CEBaB-v1.1.zip"
        if not archive.is_file():
            raise FileNotFoundError(f"neither {name} nor CEBaB-v1.1.zip in {self.root}; give their folder as root.")
        with zipfile.ZipFile(archive) as opened:
            return json.loads(opened.read(f"CEBaB-v1.1/{name}"))


def _reviews(rows: list[dict[str, Any]], pairs: bool) -> Texts:
    rated = [row for row in rows if row["review_majority"] in set("12345")]
    meaning = {"Positive": "positive", "Negative": "negative", "unknown": "unknown", "no majority": "unknown"}
    aspects = ("food", "ambiance", "service", "noise")
    concepts = {a: [meaning.get(row[f"{a}_aspect_majority"], "") for row in rated] for a in aspects}
    stars = [f"{row['review_majority']} star{'' if row['review_majority'] == '1' else 's'}" for row in rated]
    names = [f"review {row['id']}" for row in rated]
    origins = [row["original_id"] for row in rated] if pairs else None
    return Texts([row["description"] for row in rated], stars, concepts, names, origins)
