"""The JavaScript of `zoo.views.whatif`."""

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
  function live(view) {
    var section = view.querySelector('.what-if');
    var data = JSON.parse(section.querySelector(':scope > script').textContent);
    var cards = Array.prototype.slice.call(view.querySelectorAll('ol > li')).filter(function (card) {
      return card.querySelector('.try');
    });
    var counts = cards.map(function (card) { return card.querySelector('.count input'); });
    var sets = cards.map(function (card) { return card.querySelector('.set input'); });
    var select = section.querySelector('.live select');

    function effects(k) {  // of unit k on every class, with its current setting
      var unit = data.units[k], shift = view.shifts && view.shifts[k];  // of changed columns
      if (!counts[k].checked) return unit.effects.map(function () { return 0; });
      if (shift) return unit.effects.map(function (effect, c) { return effect + shift[c]; });
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
    function relative(values) {  // of all classes: that of the target, minus that of the reference
      var own = values[data.target];
      if (data.reference === 'runner-up') return own - values[data.rival];
      if (data.reference !== 'mean') return own;
      return own - values.reduce(function (a, b) { return a + b; }, 0) / values.length;
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
      if (data.reference !== 'zero') table.appendChild(row(data.explained, [digits(relative(sum))]));
      sets.forEach(function (set) { if (set) set.nextElementSibling.textContent = Number(set.value).toFixed(2); });
      if (select) margin(sum);
      view.dispatchEvent(new Event('shown'));
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
      table.replaceChildren(element('caption', 'contributions to the difference of the two scores'));
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
    view.addEventListener('input', function (event) {
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
    view.dataset.live = '1';
    view.whatIf = {
      data: data, scores: scores, counts: counts, sets: sets, effects: effects, relative: relative,
      show: show, digits: digits
    };
    show();
  }
  document.querySelectorAll('.view').forEach(function (view) {
    if (view.querySelector('.what-if')) live(view);
  });
})();
"""
