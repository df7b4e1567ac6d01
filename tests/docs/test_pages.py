"""The code and the commands of the how-to pages run, each page in a directory of its own.

A block marked `notest` needs the network, several devices or hours.
"""

import json
import math
import re
import shlex
import shutil
from pathlib import Path

import pytest
import soundfile
import yaml
from PIL import Image

from tests.docs.short_recipes import shorten_recipes
from tests.launched import launch
from zoo.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "pages" / "how-to").glob("*.md"))
BLOCK = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w-]+\.(?:yaml|py))\n")  # blocks that are files
CONFIGS = ("prototypes/protopnet_digits", "worlds/sop_part_birds", "worlds/cbm_part_birds")
SMALL = {"Digits": {}, "PartBirds": {"count": 40, "val_count": 20, "test_count": 20}}

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with small configs, and a short run of the README's first command."""
    folder = tmp_path_factory.mktemp("repository")
    for name in CONFIGS:
        config = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
        for stage in config["model"]["init_args"]["recipe"]["stages"]:
            stage |= {"epochs": 1} if "epochs" in stage else {}
        data = config["data"]
        data["init_args"] = {**data.get("init_args", {}), **SMALL[data["class_path"]]}
        path = folder / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", "--config", "configs/prototypes/protopnet_digits.yaml"]) == 0
    make_data(folder)
    return folder


def make_data(folder: Path) -> None:
    """What the pages read."""
    (folder / "photos").mkdir()
    shutil.copy(ROOT / "docs" / "digit.png", folder / "photos")
    for name, level in (("cardinal", 60), ("jay", 160)):
        (folder / "birds" / name).mkdir(parents=True)
        for i in range(1, 11):
            Image.new("RGB", (32, 32), (level, level + i, 9 * i)).save(folder / "birds" / name / f"{i}.jpg")
    scan = Image.effect_noise((24, 20), 60)
    scan.save(folder / "scan.png")
    for month, level in (("june", 0), ("july", 20)):
        (folder / month).mkdir()
        for i in range(20):
            Image.new("L", (8, 8), level + 11 * i).save(folder / month / f"{i}.png")
    (folder / "signing.key").write_text("0123456789abcdef0123456789abcdef")
    rows = [f"{20 + i % 40},{'own' if i % 3 else 'rent'},{'no' if i % 3 else 'yes'}" for i in range(60)]
    (folder / "credit.csv").write_text("\n".join(["age,home,default", *rows]))
    (folder / "applicant.csv").write_text("age,home\n30,rent")
    loans = [
        f"{i},{20 + i % 40},{-7 if i % 9 == 0 else 900 + 31 * (i % 13)},{('low', 'middle', 'high')[i % 3]},"
        f"{('trade', 'craft')[i % 2]},{('no', 'yes')[(i % 13 < 6) ^ (i % 7 == 0)]}"
        for i in range(120)
    ]
    (folder / "loans.csv").write_text("\n".join(["id,age,income,education,branch,default", *loans]))
    (folder / "applicants.csv").write_text("branch,income,age,education\ntrade,-7,30,low\ncraft,1000,41,high")
    for i in range(9):
        tone = [math.sin(t * (0.1 + 0.05 * i)) / 2 for t in range(8000)]
        soundfile.write(folder / f"{i}.wav", tone, 8000)
    shutil.copy(folder / "0.wav", folder / "new.wav")
    sounds = [f"{i}.wav,{i % 2},{i // 2 % 2},{i // 4 % 2}" for i in range(9)]
    (folder / "sounds.csv").write_text("\n".join(["file,bird,rain,traffic", *sounds]))
    graphs = []
    for i in range(20):
        atoms = [{"element": "CO"[i % 2], "charge": i / 10}, {"element": "C", "charge": 0.1}]
        label = ("harmless", "toxic")[i % 2]
        graphs.append({"nodes": atoms, "edges": [[0, 1, {"bond": ("single", "double")[i % 3 // 2]}]], "label": label})
    (folder / "toxic.jsonl").write_text("\n".join(map(json.dumps, graphs)))
    (folder / "new.json").write_text(json.dumps(graphs[0]))
    (folder / "molecules").mkdir()
    tables = {
        "graphs": ["graph,label", *(f"{i},{graph['label']}" for i, graph in enumerate(graphs))],
        "nodes": ["graph,node,mass", *(f"{i},{node},{i % 2 + node}" for i in range(20) for node in (0, 1))],
        "edges": ["graph,source,target", *(f"{i},0,1" for i in range(20))],
    }
    for name, lines in tables.items():
        (folder / "molecules" / f"{name}.csv").write_text("\n".join(lines))
    smiles = [
        f"{'C' * (1 + i % 10)}{('O', 'N', 'OC')[i % 3]},{('alcohol', 'other', 'other')[i % 3]}" for i in range(30)
    ]
    (folder / "alcohols.csv").write_text("\n".join(["smiles,label", *smiles]))
    (folder / "new.smi").write_text("CCO ethanol\nCCOC")
    (folder / "people").mkdir()
    people = ["node,age,label", *(f"p{i},{20 + i},{('yes', 'no', '')[i % 3]}" for i in range(24))]
    (folder / "people" / "nodes.csv").write_text("\n".join(people))
    known = ["source,target", *(f"p{i},p{(5 * i + 1) % 24}" for i in range(24))]
    (folder / "people" / "edges.csv").write_text("\n".join(known))
    steps = [f"t{t}" for t in range(30)]
    waves = [[f"{math.sin(t * (0.4 + i % 2) + i):.3f}" for t in range(30)] for i in range(20)]
    labelled = [",".join([*wave, ("slow", "fast")[i % 2]]) for i, wave in enumerate(waves)]
    (folder / "waves.csv").write_text("\n".join([",".join([*steps, "label"]), *labelled]))
    (folder / "new_waves.csv").write_text("\n".join(map(",".join, [steps, *waves[:3]])))
    hours = [f"2024-01-{1 + h // 24:02} {h % 24:02}:00,{math.sin(h / 4) + h / 100:.3f}" for h in range(600)]
    (folder / "load.csv").write_text("\n".join(["when,load", *hours]))
    steps = [
        f"P{p},{t},{60 + p + t},{'' if t == 3 else 120 - p},{('well', 'ill')[p % 2]}"
        for p in range(20)
        for t in range(6 + p % 2)
    ]
    (folder / "patients.csv").write_text("\n".join(["patient,hour,pulse,pressure,label", *steps]))
    texts = [f"a {'warm and funny' if i % 2 else 'cold and dull'} film,{'np'[i % 2]}" for i in range(40)]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *texts]))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_runs(page: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem == "molecules":
        pytest.importorskip("rdkit")
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    shorten_recipes(monkeypatch)
    names: dict = {}
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind in ("python", "yaml") and (name := NAMED.match(text)):
            (tmp_path / name[1]).write_text(text)
        if kind == "python":
            exec(compile(text, page.name, "exec"), names)
        elif kind == "sh":
            for line in text.splitlines():
                if line.startswith("torchrun "):
                    assert set(launch(shlex.split(line.partition(" train.py ")[2]), tmp_path / "said")) == {0}, line
                else:
                    assert main(shlex.split(line)[2:]) == 0, line
        else:
            assert kind in ("", "python notest", "sh notest", "yaml"), f"unknown block: {kind}"


def test_the_navigation_has_all_benchmark_pages() -> None:
    navigation = (ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8")
    pages = sorted(path.name for path in (ROOT / "benchmarks").glob("*.md"))
    assert [page for page in pages if f"- benchmarks/{page}" not in navigation] == []
