# %% [markdown]
# # From notebook to audit
#
# A model that decides something has to be answered for: what it looked at, how sure that is, who changed it, what it
# said on a given day, and whether it still works the same way. This walk takes one model through all of it: train,
# explain, certify, edit, compare, record, verify, monitor, serve. It runs in less than a minute on a CPU and needs
# `pip install ".[table,serve,plot]"`.

# %% [markdown]
# ## Data
#
# Measurements of tumours under the microscope, and the diagnosis (breast cancer, Wisconsin). The last 120 rows are not
# for training: they will be the patients of two later months.

# %%
import csv
import shlex
from pathlib import Path

from sklearn.datasets import load_breast_cancer

from zoo.cli.main import main


def run(line: str) -> None:
    """A command as in a shell: `python train.py ...`."""
    assert main(shlex.split(line)[2:]) == 0


cancer = load_breast_cancer()
columns = [str(name) for name in cancer.feature_names[:10]]
rows = [
    [*(float(v) for v in row[:10]), cancer.target_names[t]] for row, t in zip(cancer.data, cancer.target, strict=True)
]


def write(path: str, header: list[str], table: list[list]) -> None:
    with Path(path).open("w", newline="") as opened:
        csv.writer(opened).writerows([header, *table])


write("tumours.csv", [*columns, "label"], rows[:-120])
print(len(rows), "tumours:", ", ".join(columns))

# %% [markdown]
# ## Train
#
# A generalised additive model: one curve for each column. The score is their sum, so the curves are the complete model.
# Two of them must rise, with the score of the second class, malignant: a larger tumour never makes the model calmer.

# %%
Path("tumours.yaml").write_text("""
model:
  class_path: GA2M
  init_args:
    pairs: 0
    monotone: {mean area: increasing, mean concave points: increasing}
data:
  class_path: Table
  init_args: {path: tumours.csv}
""")
run(
    "python train.py fit --config tumours.yaml --trainer.enable_progress_bar false --trainer.enable_model_summary false"
)

# %% [markdown]
# ## Explain
#
# For a new patient: the contribution of each column, whose sum is the score, and the same in words.

# %%
import zoo

model = zoo.load("runs/tumours/checkpoint")
write("patient.csv", columns, [rows[-3][:-1]])
why = model.explain_file("patient.csv")
print(why.check())
print(why.sentence())

# %%
why.figure(top=6).savefig("audit.png", dpi=100)

# %% [markdown]
# ![A bar for each column, and the sum](audit.png)
#
# ## Certify
#
# How far is what contributions say of a removal from what the model really does? The bound holds for new inputs like
# the validation rows, with the probability 90 %. From now on it is on the model card, and each explanation repeats it.
# A bound is worth something if it is smaller than that of "the same prediction for all inputs". Columns that measure
# nearly the same, such as radius and area, make removals of several columns hard to predict.

# %%
run("python train.py certify --checkpoint runs/tumours/checkpoint --device cpu")

# %% [markdown]
# ## Edit
#
# Experts look at the curves. Suppose that they do not believe what the model makes of textures above 20: the curve is
# made flat there. The new checkpoint keeps the original curves and the list of changes.

# %%
Path("edits.yaml").write_text("- {unit: mean texture, flatten: {from: 20}}\n")
run(
    "python train.py edit --checkpoint runs/tumours/checkpoint --edits edits.yaml --output runs/edited "
    "--config runs/tumours/config.yaml"
)

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for panel, column in zip(axes, ("mean texture", "mean area"), strict=True):
    for name, style in (("runs/tumours/checkpoint", "-"), ("runs/edited", "--")):
        curve = next(curve for curve in zoo.load(name).curves() if curve.unit == column)
        values = curve.values[: curve.axes[0].numbers, 1]
        panel.step([*curve.axes[0].places, curve.axes[0].places[-1]], values, style, where="pre", label=name)
    panel.set(xlabel=column, ylabel="contribution to malignant")
axes[0].legend()
figure.savefig("audit-edit.png", dpi=100)

# %% [markdown]
# ![The curves before and after the edit](audit-edit.png)
#
# ## Compare
#
# Which answers did the edit change, and which stayed for other reasons?

# %%
run("python train.py diff runs/tumours/checkpoint runs/edited --output out/diff --device cpu")

# %% [markdown]
# ## Record and verify
#
# What the edited model says of a patient is written down, with hashes of model and input, and signed. Whoever has the
# checkpoint can compute it again, years later and offline. A record in which a number was changed is found out.

# %%
Path("signing.key").write_text("00112233445566778899aabbccddeeff" * 2)  # openssl rand -hex 32 > signing.key
run(
    "python train.py explain --checkpoint runs/edited --input patient.csv --output decisions "
    "--record content --key signing.key"
)

# %%
(record,) = Path("decisions").glob("*.record.json")
run(f"python train.py verify '{record}' --key signing.key")
text = record.read_text()
record.write_text(text.replace("mean texture", "mean area"))
print("exit code of a changed record:", main(["verify", str(record), "--key", "signing.key"]))

# %% [markdown]
# ## Monitor
#
# Two months of patients. In July, the instrument reports areas 50 % too large. The answers alone would not say
# why they change; the contributions do. They are all those to malignant, so that they have the same sign whatever the
# answer.

# %%
june = [row[:-1] for row in rows[-120:]]
place = columns.index("mean area")
july = [[*row[:place], row[place] * 1.5, *row[place + 1 :]] for row in june]
for month, table in (("june", june), ("july", july)):
    write(f"{month}.csv", columns, table)
    options = f"--input {month}.csv --output out/{month} --pages 0 --top 10 --target malignant"
    run(f"python train.py explain --checkpoint runs/edited {options}")
run("python train.py monitor out/june/explanations.jsonl out/july/explanations.jsonl --output out/drift")

# %%
drift = zoo.measure_drift("out/june/explanations.jsonl", "out/july/explanations.jsonl")
changes = sorted(drift.changes, key=lambda change: change.stability)[-8:]
figure, panel = plt.subplots(figsize=(9, 3), layout="constrained")
colors = ["tab:orange" if change in drift.drifted else "tab:gray" for change in changes]
names = [change.name if change.kind == "unit" else f"({change.kind})" for change in changes]
panel.barh(names, [change.stability for change in changes], color=colors)
panel.set(xlabel="population stability index, June to July; orange: more than chance")
figure.savefig("audit-drift.png", dpi=100)

# %% [markdown]
# ![How much the use of each column drifted](audit-drift.png)
#
# ## Serve
#
# `python train.py serve --checkpoint runs/edited` answers over HTTP. Here the same application is asked within this
# process.

# %%
from fastapi.testclient import TestClient

from zoo.cli.serve import parse, service_of
from zoo.serving.app import create_app
from zoo.serving.limits import Limits

service = service_of(zoo.load("runs/edited"), "tumours", parse(["--checkpoint", "runs/edited"]))
with TestClient(create_app(service, Limits())) as client:
    patient = dict(zip(columns, june[-3], strict=True))
    answer = client.post("/explain", json={"rows": [patient]}).json()["results"][0]
print(answer["answer"])
print(answer["sentence"])

# %% [markdown]
# What is left to keep: the checkpoint with its card and certificate, `edits.yaml`, the records, the key, and one
# `explanations.jsonl` for each month. More on each step: [tables](../how-to/tables.md),
# [decision records](../how-to/decision-records.md), [versions and drift](../how-to/compare-versions.md),
# [serving](../how-to/serve.md).
