"""Attributes of CUB as concepts: the official labels of every image, and percentages of classes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.data.real.test_cub import CLASSES, official
from zoo.data import CUB
from zoo.data.real.cub_concepts import KOH_112, majority, read_attributes
from zoo.domain import Domain

PER_CLASS = 10
TARGETS = torch.arange(len(CLASSES)).repeat_interleave(PER_CLASS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An official folder whose 312 attributes come in groups of eight; written as the official files are."""
    folder = official(tmp_path / "CUB_200_2011", PER_CLASS)
    names = [f"{i + 1} has_part_{i // 8}::kind_{i % 8}\n" for i in range(312)]
    (folder.parent / "attributes.txt").write_text("".join(names))
    return folder


def with_image_labels(root: Path, present: Tensor, certainty: Tensor) -> Path:
    (root / "attributes").mkdir()
    lines = [
        f"{i + 1} {a + 1} {int(present[i, a])} {int(certainty[i, a])} {'0 ' if a % 5 == 0 else ''}1.5\n"
        for i in range(len(present))
        for a in range(312)
    ]
    (root / "attributes" / "image_attribute_labels.txt").write_text("".join(lines))
    return root


def labels(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(30, 312, generator=draw) < 0.4, torch.randint(1, 5, (30, 312), generator=draw)


def test_published_attributes_are_112_in_28_groups(zoo_data: Path) -> None:
    texts = (zoo_data / "cub50" / "attributes.txt").read_text().splitlines()
    names = [texts[i].split()[1] for i in KOH_112]
    assert len(set(KOH_112)) == 112 and len({name.split("::")[0] for name in names}) == 28


def test_image_level_labels_are_the_annotations(root: Path) -> None:
    present, certainty = labels()
    found = read_attributes(with_image_labels(root, present, certainty), TARGETS, "image")
    assert torch.equal(found.labels, present[:, list(KOH_112)].float())
    assert torch.equal(found.visible, ~((certainty == 1) & ~present)[:, list(KOH_112)])
    assert found.names[0] == "part 0: kind 1" and found.names[0] in found.groups["part 0"]
    assert sum(len(members) for members in found.groups.values()) == 112


def test_class_level_labels_are_a_majority_of_what_was_visible(root: Path) -> None:
    present, certainty = labels()
    found = read_attributes(with_image_labels(root, present, certainty), TARGETS, "class")
    for c in range(3):
        rows = c == TARGETS
        for k, a in enumerate(KOH_112):
            yes = int(present[rows, a].sum())
            no = int((~present[rows, a] & (certainty[rows, a] != 1)).sum())
            assert (found.labels[rows, k] == float(yes >= no)).all()


def test_ties_are_present() -> None:
    present = torch.tensor([[True, False], [False, False], [False, True], [False, True]])
    visible = torch.tensor([[True, True], [True, False], [True, True], [False, True]])
    assert majority(present, visible, torch.tensor([0, 0, 1, 1])).tolist() == [[True, False], [False, True]]


def test_batches_tell_concepts_and_what_was_visible(root: Path) -> None:
    data = CUB(str(with_image_labels(root, *labels())), concepts="image", size=(8, 10), workers=0, augment="none")
    batch = next(iter(data.test_dataloader()))
    assert batch["concepts"].shape == batch["visible"].shape == (15, 112) and batch["visible"].dtype == torch.bool
    assert data.concept_labels().shape == (len(data.train_dataset()), 112)
    domain = Domain.from_dict(data.domain)
    assert len(domain.concepts) == 112 and len(domain.group_columns()) == len(domain.concept_groups)


def test_real_classes_have_35_concepts_from_their_percentages(zoo_data: Path) -> None:
    data = CUB(str(zoo_data / "cub50"), concepts="class", augment="none", workers=0)
    domain, items = Domain.from_dict(data.domain), data.items("train", False)
    assert len(domain.concepts) == 35 and items.visible is None
    percentages = (zoo_data / "cub50" / "attributes" / "class_attribute_labels_continuous.txt").read_text().splitlines()
    texts = (zoo_data / "cub50" / "attributes.txt").read_text().splitlines()
    column = [t.split("has_")[1].replace("::", ": ").replace("_", " ") for t in texts].index(domain.concepts[7])
    for i in range(0, len(items), 100):
        assert items.concepts[i, 7] == float(float(percentages[items.targets[i]].split()[column]) >= 50)
    of_class = torch.stack([items.concepts[items.targets == c][0] for c in range(50)])
    assert int(of_class.sum(0).min()) >= 10 and int(of_class.sum(0).max()) < 50


def test_no_concepts_unless_asked(root: Path) -> None:
    data = CUB(str(root), size=(8, 10), workers=0, augment="none")
    assert "concepts" not in data.test_dataset()[0]
    with pytest.raises(ValueError, match="CUB has no annotated concepts"):
        data.concept_labels()


def test_what_is_missing_is_named(root: Path) -> None:
    with pytest.raises(ValueError, match="concepts must be one of none, class, image, visible; got 'bird'"):
        CUB(str(root), concepts="bird")
    with pytest.raises(FileNotFoundError, match=r"has no image_attribute_labels.txt; choose concepts: class"):
        read_attributes(root, TARGETS, "image")
    with pytest.raises(FileNotFoundError, match=r"has neither image_attribute_labels.txt nor class_attribute"):
        read_attributes(root, TARGETS, "class")
    (root / "attributes").mkdir()
    (root / "attributes" / "class_attribute_labels_continuous.txt").write_text("50 50\n" * 3)
    with pytest.raises(ValueError, match=r"has 2 columns; attributes.txt names 312"):
        read_attributes(root, TARGETS, "class")
    (root / "attributes" / "image_attribute_labels.txt").write_text("1 1 0 3 1.0\n")
    with pytest.raises(ValueError, match="has 1 lines; expected 30 images x 312 attributes = 9360"):
        read_attributes(root, TARGETS, "class")
    (root.parent / "attributes.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no attributes.txt in or beside"):
        read_attributes(root, TARGETS, "class")
