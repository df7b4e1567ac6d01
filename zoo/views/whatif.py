"""What-ifs of a page: units switched off or set, and the scores of all classes that follow, exactly.

The page holds the effects of its units on every class, so a score without a unit is the score less its effect, and a
score with another activation is moved by the difference times the slope. Nothing is approximated, and nothing is asked
of the model. Without a script the page shows the explanation alone.
"""

import json
from html import escape

import torch

from zoo.views.row import Row

BEST = 5  # classes that are shown


def available(row: Row) -> bool:
    """Whether the scores of all classes follow from what the explanation holds."""
    return row.one.effects is not None and row.one.domain.task == "classification"


def control(row: Row, place: int) -> str:
    """A switch for the unit of a card, with a slider for a concept; the card after the last is of all others."""
    if not available(row):
        return ""
    others = place == len(row.terms)
    name = "all other units" if others else row.terms[place].unit.name
    label = escape(f"count {name}", quote=True)
    switch = f"<label class='count'><input type='checkbox' checked aria-label='{label}'> counts</label>"
    if others or row.one.slopes is None or row.terms[place].unit.kind != "concept":
        return f"<div class='try'>{switch}</div>"
    value = row.terms[place].activation
    low, high = min(0.0, value), max(1.0, value)
    slider = (
        f"<label class='set'><input type='range' min='{low:.6g}' max='{high:.6g}' step='any' value='{value:.9g}' "
        f"aria-label='{escape(f'set {name}', quote=True)}'><output>{value:.2f}</output></label>"
    )
    return f"<div class='try'>{switch}{slider}</div>"


def panel(row: Row) -> str:
    """The scores that follow, why not another class, and the numbers that the script computes with."""
    if not available(row):
        return ""
    classes = row.one.domain.classes
    target = int(row.one.target)
    options = "".join(f"<option value='{c}'>{escape(name)}</option>" for c, name in enumerate(classes) if c != target)
    rival = (
        f"<label>Why <bdi>{escape(classes[target])}</bdi> rather than <select>{options}</select></label>"
        "<table class='margin'></table>"
        if options
        else ""
    )
    return (
        f"<section class='what-if' aria-label='what if'><h3>What if?</h3>"
        "<p class='note'>Switch units off or set concepts above: these are exactly the scores that the model would "
        "give. <button type='button'>as it was</button></p><div class='live'>"
        f"<div><table class='scores' aria-live='polite'></table></div><div>{rival}</div></div>"
        f"<script type='application/json'>{_numbers(row)}</script></section>"
    )


def _numbers(row: Row) -> str:
    """The terms as JSON, safe within a page."""
    one, columns = row.one, [term.index for term in row.terms]
    if one.effects is None:
        raise ValueError("the explanation has no effects on every class; explain(x, every_class=True) keeps them.")
    effects, scores = one.effects[0].double().cpu(), one.scores[0].double().cpu()
    shown = effects[columns]
    bias, rest = scores - effects.sum(0), effects.sum(0) - shown.sum(0)
    slopes = None if one.slopes is None else one.slopes[0, columns].double().cpu()
    units = [
        {"name": term.unit.name, "activation": term.activation, "effects": shown[i].tolist()}
        | ({} if slopes is None or term.unit.kind != "concept" else {"slopes": slopes[i].tolist()})
        for i, term in enumerate(row.terms)
    ]
    if len(columns) < len(one.units):
        units.append({"name": f"{len(one.units) - len(columns)} other units", "effects": rest.tolist()})
    told = {
        "classes": list(one.domain.classes),
        "target": int(one.target),
        "best": BEST,
        "space": one.space,
        "scores": scores.tolist(),
        "bias": bias.tolist(),
        "units": units,
    }
    text = json.dumps(_rounded(told), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _rounded(value: object) -> object:
    """Numbers to nine digits, more than fp32 has, so that the page stays small."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if torch.isfinite(torch.tensor(value)) else 0.0
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


SCRIPT = """
(function () {
  'use strict';
  function element(name, text) {
    var made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function digits(value, sign) {
    var text = Math.abs(value).toFixed(3);
    var minus = value < 0 && Number(text) !== 0;
    return (minus ? '\\u2212' : sign ? '+' : '') + text;
  }
  function live(article) {
    var section = article.querySelector('.what-if');
    var data = JSON.parse(section.querySelector('script').textContent);
    var cards = Array.prototype.slice.call(article.querySelectorAll('ol > li')).filter(function (card) {
      return card.querySelector('.try');
    });
    var counts = cards.map(function (card) { return card.querySelector('.count input'); });
    var sets = cards.map(function (card) { return card.querySelector('.set input'); });
    var select = section.querySelector('select');

    function effects(k) {  // of unit k on every class, as it is set
      var unit = data.units[k];
      if (!counts[k].checked) return unit.effects.map(function () { return 0; });
      if (!sets[k] || !sets[k].dataset.moved) return unit.effects;
      var moved = Number(sets[k].value) - unit.activation;
      return unit.effects.map(function (effect, c) { return effect + moved * unit.slopes[c]; });
    }
    function scores() {
      var sum = data.bias.slice();
      data.units.forEach(function (unit, k) {
        effects(k).forEach(function (effect, c) { sum[c] += effect; });
      });
      return sum;
    }
    function shares(sum) {
      if (data.space !== 'logit') return data.space === 'probability' ? sum : null;
      var top = Math.max.apply(null, sum);
      var powers = sum.map(function (score) { return Math.exp(score - top); });
      var total = powers.reduce(function (a, b) { return a + b; }, 0);
      return powers.map(function (power) { return power / total; });
    }
    function bar(value, most) {
      var outer = element('div'), inner = element('span');
      outer.className = 'bar signed';
      inner.className = value < 0 ? 'down' : 'up';
      inner.style.width = (most ? 50 * Math.abs(value) / most : 0).toFixed(1) + '%';
      outer.appendChild(inner);
      return outer;
    }
    function row(name, cells) {
      var line = element('tr'), head = element('th'), inner = element('bdi', name);
      head.scope = 'row';
      head.appendChild(inner);
      line.appendChild(head);
      cells.forEach(function (cell) {
        var made = element('td');
        if (typeof cell === 'string') made.textContent = cell;
        else { made.className = cell.className === 'bar signed' ? 'side' : 'meter'; made.appendChild(cell); }
        line.appendChild(made);
      });
      return line;
    }
    function show() {
      var sum = scores(), share = shares(sum), table = section.querySelector('.scores');
      var order = sum.map(function (_, c) { return c; }).sort(function (a, b) { return sum[b] - sum[a] || a - b; });
      var shown = order.slice(0, data.best);
      if (shown.indexOf(data.target) < 0) shown.push(data.target);
      table.replaceChildren(element('caption', 'scores: ' + data.space + (share ? ', probability' : '')));
      shown.forEach(function (c) {
        var cells = [digits(sum[c])];
        if (share) {
          var meter = element('span');
          meter.style.width = (100 * share[c]).toFixed(1) + '%';
          cells.push(meter, (100 * share[c]).toFixed(1) + ' %');
        }
        var line = row(data.classes[c], cells);
        if (c === data.target) line.className = 'chosen';
        table.appendChild(line);
      });
      sets.forEach(function (set) { if (set) set.nextElementSibling.textContent = Number(set.value).toFixed(2); });
      if (select) margin(sum);
    }
    function margin(sum) {
      var rival = Number(select.value), table = section.querySelector('.margin');
      var parts = data.units.map(function (unit, k) {
        var effect = effects(k);
        return [unit.name, effect[data.target] - effect[rival]];
      });
      parts.push(['bias', data.bias[data.target] - data.bias[rival]]);
      parts.sort(function (a, b) { return Math.abs(b[1]) - Math.abs(a[1]); });
      var most = Math.abs(parts[0][1]);
      table.replaceChildren(element('caption', 'what each adds to the difference of the two scores'));
      parts.forEach(function (part) {
        table.appendChild(row(part[0], [bar(part[1], most), digits(part[1], true)]));
      });
      var total = row('= difference', ['', digits(sum[data.target] - sum[rival], true)]);
      total.className = 'chosen';
      table.appendChild(total);
    }
    if (select) {
      var others = data.scores.map(function (_, c) { return c; }).filter(function (c) { return c !== data.target; });
      others.sort(function (a, b) { return data.scores[b] - data.scores[a]; });
      select.value = others[0];
    }
    article.addEventListener('input', function (event) {
      if (event.target.type === 'range') event.target.dataset.moved = '1';
      show();
    });
    section.querySelector('button').addEventListener('click', function () {
      counts.forEach(function (count) { count.checked = true; });
      sets.forEach(function (set, k) {
        if (set) { set.value = data.units[k].activation; delete set.dataset.moved; }
      });
      show();
    });
    article.dataset.live = '1';
    article.whatIf = { data: data, scores: scores, counts: counts, sets: sets };
    show();
  }
  document.querySelectorAll('article').forEach(function (article) {
    if (article.querySelector('.what-if')) live(article);
  });
})();
"""
