"""An episode of a policy as a page: the scene, the action of each step and its terms, scrubbed by a slider."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.utils.json_text import to_json
from zoo.views.document import document
from zoo.views.episode_script import SCRIPT
from zoo.views.markup import escape

LOOK = """
.zoo .stage{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,6fr);gap:24px}
@media (max-width:760px){.zoo .stage{grid-template-columns:minmax(0,1fr)}.zoo article{padding:14px}}
.zoo .scene svg{display:block;width:100%;max-height:44vh;background:var(--ground);border-radius:8px}
.zoo .scene .ground,.zoo .scene polyline{stroke:var(--soft);stroke-width:2px;fill:none}
.zoo .scene .body,.zoo .scene .tip{fill:var(--up)}
.zoo .scene .pole{stroke:var(--ink);stroke-width:7px;stroke-linecap:round}
.zoo .scene .push{stroke:var(--down);stroke-width:3px;fill:none;stroke-linecap:round}
.zoo .move{gap:12px;align-items:center;margin:12px 0 4px}
.zoo .move input{flex:1;min-width:0;accent-color:var(--up)}
.zoo .move button{min-width:5.5em;padding:8px 12px;font:inherit;border:1px solid var(--line);border-radius:8px;
background:var(--paper);color:inherit;cursor:pointer}
.zoo .action{font-size:1.3rem;font-weight:650}
.zoo .against,.zoo .at{color:var(--soft);font-size:.9rem}
.zoo .rule:not(:empty){margin:8px 0;padding:8px 12px;border-left:3px solid var(--up);background:var(--ground);
overflow-wrap:anywhere}
.zoo .terms{width:100%;border-collapse:collapse;margin-top:10px;font-size:.9rem;table-layout:fixed}
.zoo .terms th{text-align:left;font-weight:500;width:44%;padding:4px 6px 4px 0;overflow-wrap:anywhere}
.zoo .terms td{padding:4px 0}
.zoo .terms small{display:block;color:var(--soft);font-weight:400}
.zoo .terms .said{width:17%;color:var(--soft);font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.zoo .terms .value{width:17%;text-align:right;font-variant-numeric:tabular-nums}
.zoo .terms .gauge{position:relative;height:24px}
.zoo .terms .gauge::before{content:'';position:absolute;left:50%;top:3px;bottom:3px;border-left:1px solid var(--line)}
.zoo .terms .gauge span{position:absolute;top:50%;height:12px;margin-top:-6px;border-radius:2px}
.zoo .terms .up{background:var(--up)}.zoo .terms .down{background:var(--down)}
.zoo .terms .idle{opacity:.4}
.zoo .terms .total th,.zoo .terms .total td{border-top:1px solid var(--line);font-weight:650}
.zoo .strips h4{font-weight:500;font-size:.9rem;margin:10px 0 2px}
.zoo .strip{display:block;width:100%;height:44px;background:var(--ground);border-radius:6px;cursor:pointer}
.zoo .strip .zero{stroke:var(--line)}.zoo .strip .line{fill:none;stroke:var(--up);stroke-width:1.6px}
.zoo .strip line,.zoo .strip polyline{vector-effect:non-scaling-stroke}
.zoo .strip .cursor{stroke:var(--down);stroke-width:2px}
.zoo .strip .a0{fill:var(--down)}.zoo .strip .a1{fill:var(--up)}.zoo .strip .a2{fill:var(--soft)}
.zoo .key{font-size:.85rem;color:var(--soft);display:flex;gap:14px;flex-wrap:wrap}
.zoo .key i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
.zoo .key .a0{background:var(--down)}.zoo .key .a1{background:var(--up)}.zoo .key .a2{background:var(--soft)}
.zoo .move{display:none}.zoo .ready .move{display:flex}
.zoo .observed{display:grid;grid-template-columns:1fr auto;gap:2px 12px;margin:10px 0;font-size:.9rem}
.zoo .observed dt{color:var(--soft)}.zoo .observed dd{margin:0;text-align:right;font-variant-numeric:tabular-nums}
"""


def episode_page(
    title: str,
    explanation: Explanation,
    states: Tensor,
    returns: Tensor,
    world: str,
    bound: float = 0.0,
    facts: Sequence[str] = (),
) -> str:
    """A self-contained page that plays an episode, with the active rule or the terms of each step.

    Args:
        title: of the page.
        explanation: of the T observations, with `every_class` and relative to zero.
        states: (T, S) of the world.
        returns: (T,) sum of the rewards up to each step.
        world: "cartpole", "mountaincar", "acrobot" or "pendulum".
        bound: of actions that are values; 0 for classes.
        facts: sentences about the policy, such as its return.

    Raises:
        ValueError: the explanation has no terms of all actions.
    """
    if explanation.effects is None:
        raise ValueError("the page needs the terms of every action; call explain(x, every_class=True).")
    data = _data(explanation, states, returns, world, bound)
    about = "".join(f"<p class='note'>{escape(fact)}</p>" for fact in facts)
    steps = len(data["steps"])
    body = (
        f"<h1>{escape(title)}</h1><div id='episode'><article><div class='stage'><div>"
        f"<div class='scene'><svg viewBox='0 0 400 230' role='img' aria-label='{escape(world)}'></svg></div>"
        f"<div class='move'><button type='button'>Play</button><input type='range' aria-label='step' min='0' "
        f"max='{steps - 1}' value='0' step='1'></div><p class='at'></p><dl class='observed'></dl>{about}</div>"
        "<div><p class='action' aria-live='polite'></p><p class='against'></p><p class='rule'></p>"
        f"<table class='terms'><tbody></tbody></table></div></div></article><article class='strips'>{_strips(data)}"
        "</article></div><noscript><p class='warning'>The steps are drawn by a script.</p></noscript>"
        f"<script type='application/json' id='episode-data'>{to_json(data).replace('<', chr(92) + 'u003c')}</script>"
    )
    return document(title, body, LOOK, (SCRIPT,))


def _data(why: Explanation, states: Tensor, returns: Tensor, world: str, bound: float) -> dict[str, Any]:
    """All that the page shows, as plain data; units that are 0 at all steps, such as splits far away, are left out."""
    assert why.effects is not None
    kept = (why.activation != 0).any(0).nonzero().flatten().tolist()
    units = [why.units[k] for k in kept]
    scores, effects = why.scores.double(), why.effects[:, kept].double()  # (T, C), (T, K, C)
    bias = scores - effects.sum(1)
    values: Tensor = why.domain.values(why.inputs).cpu()  # pyright: ignore[reportAttributeAccessIssue] (a table)
    columns = {
        "state": [_round(row) for row in states],
        "sum": _round(returns),
        "action": scores.argmax(1).tolist(),
        "value": _round(scores[:, 0].clamp(-bound, bound)),
        "rival": scores.topk(2, 1).indices[:, 1].tolist() if scores.shape[1] > 1 else [None] * len(scores),
        "scores": [_round(row) for row in scores],
        "effects": [[_round(row) for row in step] for step in effects],
        "bias": [_round(row) for row in bias],
        "said": _said(why, kept, values),
        "observed": [_round(row) for row in values],
        "active": (why.activation[:, kept] != 0).tolist(),
        "rule": list(why.statements) or [""] * len(scores),
    }
    terms = torch.cat([effects, bias[:, None], scores[:, None]], 1)
    largest = terms.abs().amax().item() if bound else (terms.amax(2) - terms.amin(2)).amax().item()
    return {
        "world": world,
        "continuous": bool(bound),
        "space": why.space,
        "actions": list(why.domain.classes),
        "features": list(getattr(why.domain, "features", ())),
        "units": [unit.name for unit in units],
        "about": [_observed(unit) for unit in units],
        "largest": largest or 1.0,
        "steps": [dict(zip(columns, step, strict=True)) for step in zip(*columns.values(), strict=True)],
    }


def _said(why: Explanation, kept: Sequence[int], values: Tensor) -> list[list[str]]:
    """What is beside the name of each kept unit at each step: a number that is observed, an answer, or a strength."""
    features = {name: i for i, name in enumerate(getattr(why.domain, "features", ()))}
    above, said = why.details.get("above"), []
    for t in range(len(values)):
        row = []
        for k in kept:
            active = float(why.activation[t, k])
            if (name := why.units[k].name) in features:
                row.append(f"{float(values[t, features[name]]):.3g}")
            elif above is not None:
                row.append(("yes" if above[t, k] > 0.5 else "no") if active else "")
            else:
                row.append(f"{active:.2f}")
        said.append(row)
    return said


def _observed(unit: Unit) -> str:
    """The state that a unit stands for, in words; "" if it stands for none."""
    return ", ".join(f"{name} {value:.3g}" for name, value in unit.source.get("observation", {}).items())


def _round(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.double().tolist()]


def _strips(data: Mapping[str, Any]) -> str:
    """The actions and each term over the episode."""
    steps, count = data["steps"], len(data["steps"])
    parts = ["<h3>The complete episode</h3><p class='note'>Click to go to a step.</p>"]
    wide = 1000 / count
    if data["continuous"]:
        parts.append(f"<h4>{escape(data['actions'][0])}</h4>" + _line([step["value"] for step in steps]))
    else:
        key = "".join(f"<span><i class='a{i}'></i>{escape(name)}</span>" for i, name in enumerate(data["actions"]))
        blocks, start = [], 0
        for t in range(1, count + 1):
            if t == count or steps[t]["action"] != steps[start]["action"]:
                place = f"x='{start * wide:.2f}' width='{(t - start) * wide:.2f}'"
                blocks.append(f"<rect {place} y='6' height='32' class='a{steps[start]['action']}'/>")
                start = t
        parts.append(f"<h4>actions</h4>{_strip(''.join(blocks))}<p class='key'>{key}</p>")
    last = len(data["actions"]) - 1  # terms of the last action minus the first, or of the value
    base = f" for {data['actions'][last]} rather than {data['actions'][0]}" if last else ""
    for k, name in enumerate(data["units"]):
        terms = [step["effects"][k] for step in steps]
        values = [term[last] - (term[0] if last else 0) for term in terms]
        if any(values):
            parts.append(f"<h4>{escape(name)}{escape(base)}</h4>{_line(values)}")
    return "".join(parts)


def _line(values: Sequence[float]) -> str:
    size, wide = max(max(map(abs, values)), 1e-9), 1000 / len(values)
    points = " ".join(f"{(t + 0.5) * wide:.1f},{22 - 18 * value / size:.1f}" for t, value in enumerate(values))
    return _strip(f"<line x1='0' x2='1000' y1='22' y2='22' class='zero'/><polyline class='line' points='{points}'/>")


def _strip(inner: str) -> str:
    return (
        f"<svg class='strip' viewBox='0 0 1000 44' preserveAspectRatio='none' aria-hidden='true'>{inner}"
        "<line class='cursor' x1='0' x2='0' y1='0' y2='44'/></svg>"
    )
