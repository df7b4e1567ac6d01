"""CEBaB: labels, concepts and splits of the reviews."""

from pathlib import Path

import pytest
import torch

from zoo.data import CEBaB
from zoo.domain import Domain


def test_reviews_of_restaurants(zoo_data: Path) -> None:
    data = CEBaB(str(zoo_data / "text" / "cebab"), length=64)
    domain = Domain.from_dict(data.domain)
    assert domain.classes == ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
    assert domain.exclusive == ("food", "ambiance", "service", "noise") and len(domain.concepts) == 12
    assert "food: positive" in domain.concepts
    assert [len(data.items(s, False)) for s in ("train", "val", "test")] == [9848, 1673, 1689]
    labels = data.items("test", False).concepts
    food = labels[:, [domain.concepts.index(f"food: {v}") for v in ("negative", "positive", "unknown")]]
    assert food.nansum(0).tolist() == [558, 717, 314] and int(food.isnan().any(1).sum()) == 100


def test_pairs_have_one_origin(zoo_data: Path) -> None:
    data = CEBaB(str(zoo_data / "text" / "cebab"), length=16, pairs=True)
    rows = data.items("test", False)
    origins = [name.removeprefix("review ").split("_")[0] for name in rows.names]
    partners = rows.partners
    assert partners is not None and [origins[i] for i in partners.tolist()] == origins
    assert sorted(partners.tolist()) == list(range(len(rows)))
    alone = partners == torch.arange(len(rows))
    assert [origins.count(origins[i]) == 1 for i in range(50)] == alone[:50].tolist() and not alone.all()
    i = int((~alone).nonzero()[0])
    assert torch.equal(rows[i]["pair"], rows[int(partners[i])]["input"])
    assert not torch.equal(rows[i]["pair"], rows[i]["input"])


def test_reviews_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither train_inclusive.json nor CEBaB-v1.1.zip in"):
        assert CEBaB(str(tmp_path)).domain
    with pytest.raises(ValueError, match="train must be one of inclusive, exclusive, observational; got 'all'"):
        CEBaB(str(tmp_path), train="all")
