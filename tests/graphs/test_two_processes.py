"""Models of graphs on two processes: the same model on both ranks, and the same subgraphs as of one process."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from safetensors.torch import load_file

from tests.processes import Server

SCRIPT = """
import os, warnings
os.environ |= {environment}
warnings.simplefilter("ignore")
import lightning as L
from safetensors.torch import save_file
import zoo
from zoo.data import BA2Motifs

def still(group):  # learns nothing, so that one process and two store parts of graphs by the same weights
    return {{"name": "still", "epochs": 1, "train": [group], "lr": {{group: 0.0}}}}

last, measure = {{"name": "last", "epochs": 1, "train": ["head"]}}, {{"name": "measure", "epochs": 1, "train": []}}
options = {{
    "protgnn": ({{"prototypes_per_class": 2, "beam": 4, "graphs": 3}}, [still("prototypes"), {{"name": "push"}}, last]),
    "graph_concepts": (
        {{"concepts": 4, "examples": 2, "logic": {{"hidden": 2}}}},
        [still("concepts"), last, {{"name": "gather"}}, {{"name": "extract"}}, measure],
    ),
}}
for name, (chosen, stages) in options.items():
    L.seed_everything(0, verbose=False)
    data = BA2Motifs(count=30, test_count=6, batch_size=8)
    backbone = {{"width": 4, "layers": 2}}
    model = zoo.create_model(name, domain=data.domain, backbone=backbone, recipe={{"stages": stages}}, **chosen)
    trainer = L.Trainer(
        accelerator="cpu", devices={devices}, strategy={strategy!r}, max_epochs=model.max_epochs, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir={folder!r},
    )
    trainer.fit(model, datamodule=data)
    state = {{key: value.clone().contiguous() for key, value in model.state_dict().items()}}
    save_file(state, f"{folder}/{{name}}.safetensors")
"""
CHOSEN = {
    "protgnn": [f"prototypes.{name}" for name in ("vectors", "stored.index", "stored.rows", "stored.name")],
    "graph_concepts": [f"stored.{name}" for name in ("index", "rows", "centre", "name")],
}


def test_two_processes(servers: tuple[Server, Server], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    runs = {}
    for name, devices, rank in (("one", 1, 0), ("first", 2, 0), ("second", 2, 1)):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
        folder = tmp_path / name
        folder.mkdir()
        runs[name] = SCRIPT.format(
            environment=place if devices == 2 else {},
            devices=devices,
            strategy="ddp_find_unused_parameters_true" if devices == 2 else "auto",
            folder=str(folder),
        )

    def run(server: int, name: str) -> tuple[int, str]:
        return servers[server].run(runs[name], tmp_path / name)

    with ThreadPoolExecutor(2) as both:
        ended = list(both.map(run, (0, 1), ("first", "second")))
    ended.append(run(0, "one"))
    assert [code for code, _ in ended] == [0, 0, 0], "\n".join(said for _, said in ended)
    for name, chosen in CHOSEN.items():
        one, first, second = (load_file(tmp_path / run / f"{name}.safetensors") for run in runs)
        assert sorted(first) == sorted(second)
        for key, tensor in first.items():
            if "running_" not in key:  # each rank's batch norm sees its own share
                assert tensor.equal(second[key]), f"{name}: {key} differs between ranks"
        for key in chosen:
            assert one[key].equal(first[key]), f"{name}: {key} depends on the number of processes"
