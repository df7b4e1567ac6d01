"""Answers over HTTP are those of the model, whoever else asks at the same time."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx2")

import zoo
from tests.cli import hostile
from tests.serving.clients import client_of, error_of, service
from zoo.cli.main import main
from zoo.domain.inputs import Literal, read_input
from zoo.serving.service import Service
from zoo.views.html import page

HEAD = "width,height,hue\n"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return service(tmp_path_factory.mktemp("images"), "protopnet")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return service(tmp_path_factory.mktemp("tables"), "nam")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return service(tmp_path_factory.mktemp("texts"), "c3m")


def test_an_image_is_explained_as_by_the_model_and_as_by_the_command(images: Service, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(hostile.encoded("PNG"))
    own = images.model.explain_file(path)
    with client_of(images) as client:
        told = client.post("/explain", files={"file": ("photo.png", path.read_bytes())}).json()["results"]
        raw = client.post("/explain", content=path.read_bytes(), headers={"content-type": "image/png"}).json()
        scores = client.post("/predict?name=a/b.png", content=path.read_bytes()).json()["results"][0]
        other = client.post("/explain?name=b.png&target=0&top=1", content=path.read_bytes()).json()["results"][0]
    assert len(told) == 1 and told[0]["sentence"] == own.sentence()
    assert {key: told[0][key] for key in own.to_dict(8)[0]} == own.to_dict(8)[0]
    assert {**raw["results"][0], "input": "photo.png", "title": "photo.png"} == told[0]
    assert list(scores["scores"].values()) == pytest.approx(own.scores[0].tolist(), abs=1e-6)
    assert list(scores["probabilities"].values()) == pytest.approx(own.scores[0].softmax(0).tolist(), abs=1e-6)
    assert scores["input"] == "b.png" and other["target"] == images.model.domain.classes[0]
    assert len(other["evidence"]) == 1
    checkpoint, out = zoo.save(images.model, tmp_path / "model"), tmp_path / "out"
    files = ["--checkpoint", str(checkpoint), "--input", str(path), "--output", str(out)]
    assert main(["explain", *files, "--pages", "0"]) == 0
    line = json.loads((out / "explanations.jsonl").read_text())
    assert told[0] == {key: line[key] for key in told[0]} | {"input": "photo.png", "checkpoint": "protopnet"}


def test_a_page_is_that_of_the_views(images: Service, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(hostile.encoded("PNG"))
    files = {"file": ("<b>photo.png", path.read_bytes())}
    found = read_input(path, images.model.domain)
    own = images.explain([found], None, images.every_class, True)
    with client_of(images) as client:
        shown = client.post("/page", files=files)
        both = client.post("/explain?page=true", files=files).json()
        home = client.get("/")
        refused = client.post("/page", files={"file": ("a.pdf", b"x")}, headers={"accept": "text/html"})
    assert shown.headers["content-type"].startswith("text/html") and shown.text == both["page"]
    assert shown.text == page(own, ["<b>photo.png"]) and "<b>photo" not in shown.text
    assert "<form method='post' action='page'" in home.text and "http" not in home.text.replace("http-equiv", "")
    assert refused.status_code == 415 and "<h1>No explanation</h1>" in refused.text


def test_rows_of_a_table_as_csv_and_as_json(tables: Service) -> None:
    rows = [{"width": i / 3, "height": -i, "hue": 2.5} for i in range(5)]
    table = HEAD + "".join(f"{row['width']},{row['height']},{row['hue']}\n" for row in rows)
    own = tables.model.explain(torch.stack([tables.model.domain.preprocess(row) for row in rows]))
    with client_of(tables) as client:
        told = client.post("/explain?name=my.csv", content=table).json()["results"]
        same = client.post("/explain", json={"rows": rows}).json()["results"]
        one = client.post("/predict", json=rows[2]).json()["results"]
        error = error_of(client.post("/explain", json=[*rows, {**rows[0], "hue": "red"}]), 422)
    for i, (line, wanted) in enumerate(zip(told, own.to_dict(8), strict=True)):
        assert line["input"] == f"my.csv row {i + 1}" and line["values"] == wanted["values"]
        assert line["score"] == pytest.approx(wanted["score"], abs=1e-6)
        assert same[i]["evidence"] == line["evidence"]
    assert list(one[0]["scores"].values()) == pytest.approx(own.scores[2].tolist(), abs=1e-6)
    assert "row 6: feature 'hue'" in error["got"]


def test_texts_in_three_ways(texts: Service) -> None:
    own = texts.explain([read_input(Literal("good food"), texts.model.domain)], None, False, False).to_dict(8)[0]
    with client_of(texts) as client:
        told = [
            client.post("/explain", json={"text": "good food"}),
            client.post("/explain", content="good food", headers={"content-type": "text/plain"}),
            client.post("/explain", files={"text": (None, "good food")}),
            client.post("/explain?name=a.txt", content="good food"),
        ]
    for response in told:
        assert {key: response.json()["results"][0][key] for key in own} == own


def test_a_series_as_npy(tmp_path: Path) -> None:
    answers, values = service(tmp_path, "sop", "series"), np.random.default_rng(0).normal(size=(11, 2))
    own = answers.model(answers.model.domain.preprocess(torch.tensor(values, dtype=torch.float32))[None])
    with client_of(answers) as client:
        told = client.post("/predict?name=a.npy", content=hostile.array(values)).json()["results"][0]
    assert list(told["scores"].values()) == pytest.approx(own[0].tolist(), abs=1e-5)


def test_each_of_many_at_once_gets_its_own_answer(images: Service) -> None:
    """Different pictures, models' modes and targets, from 24 threads, with faulty ones between them."""
    generator, domain = np.random.default_rng(0), images.model.domain
    pictures, wanted = [], []
    for _ in range(40):
        picture = Image.fromarray(generator.integers(0, 256, (12, 10, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        pictures.append(buffer.getvalue())
        wanted.append(images.model(domain.preprocess(picture)[None])[0].tolist())
    with client_of(images, queue=100, uploads=100) as client, ThreadPoolExecutor(24) as pool:

        def ask(i: int) -> None:
            if i % 7 == 3:
                error_of(client.post("/explain?name=x.png", content=pictures[i][:40]), 422)
                return
            path = ("/explain?name=x.png", "/predict?name=x.png", "/explain?target=1&name=x.png")[i % 3]
            told = client.post(path, content=pictures[i % 40]).json()["results"][0]
            assert list(told["scores"].values()) == pytest.approx(wanted[i % 40], abs=1e-5)
            if i % 3 == 2:
                assert told["target"] == domain.classes[1]
            elif i % 3 == 0:
                assert told["score"] == pytest.approx(max(wanted[i % 40]), abs=1e-5)

        list(pool.map(ask, [*range(40)] * 2))
        counters = client.get("/metrics").text
    numbers = dict(line.rsplit(" ", 1) for line in counters.splitlines() if line[0] != "#")
    assert numbers["zoo_inputs_total"] == "68" and int(numbers["zoo_batches_total"]) < 68
    assert numbers['zoo_requests_total{path="/explain",status="422"}'] == "12" and numbers["zoo_pending"] == "0"
    seconds = 'zoo_request_seconds_%s{path="/predict"%s}'
    assert numbers[seconds % ("count", "")] == numbers[seconds % ("bucket", ',le="+Inf"')]


def test_certificates_are_remarked(images: Service) -> None:
    """What a remark adds to a statement is in the answer."""

    def explain(*question):
        told = images.explain(*question)
        return replace(told, statements=tuple(f"remark {i}" for i in range(len(told))))

    remarked = Service(images.model, "x", explain, 8, "de")
    with client_of(remarked) as client:
        told = client.post("/explain?name=a.png", content=hostile.encoded("PNG")).json()["results"][0]
    assert told["statement"] == "remark 0" and told["sentence"].startswith("Die Antwort")


def test_the_interface_describes_itself(tables: Service) -> None:
    with client_of(tables) as client:
        paths = client.get("/openapi.json").json()["paths"]
        assert client.get("/health").json()["classes"] == list(tables.model.domain.classes)
        assert client.get("/ready").json() == {"ready": True}
        assert client.get("/docs").status_code == 404  # it would load scripts from another server
    assert {"/explain", "/predict", "/page", "/health", "/ready", "/metrics"} <= set(paths)
    assert "413" in paths["/explain"]["post"]["responses"]
