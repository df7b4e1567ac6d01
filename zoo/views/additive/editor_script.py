"""The JavaScript of the editor of curves and of the search on the page of a model."""

from zoo.views.additive.columns_script import TABLES
from zoo.views.additive.drag_script import DRAG

STATE = """
  function shownOf(curve, c) {  // what an edit reads and writes, see `shown_values` in zoo/additive/layers/edits.py
    var found = [], many = curve.outputs;
    for (var i = 0; i < curve.values.length / many; i++) {
      if (all.weights) found.push(2 * curve.values[i]);
      else if (many === 2) found.push(curve.values[2 * i + c] - curve.values[2 * i + 1 - c]);
      else found.push(curve.values[many * i + c]);
    }
    return found;
  }
  function isotonic(values, weights) {
    var blocks = [];
    values.forEach(function (value, i) {
      blocks.push([value, weights[i], 1]);
      while (blocks.length > 1 && blocks[blocks.length - 2][0] > blocks[blocks.length - 1][0]) {
        var last = blocks.pop(), one = blocks[blocks.length - 1];
        one[0] = (one[0] * one[1] + last[0] * last[1]) / (one[1] + last[1]);
        one[1] += last[1];
        one[2] += last[2];
      }
    });
    var found = [];
    blocks.forEach(function (block) { for (var i = 0; i < block[2]; i++) found.push(block[0]); });
    return found;
  }
  function chosen(curve, limits) {  // entries of numbers from limits.from to limits.to
    var axis = curve.axes[0], found = [], low = limits.from, high = limits.to, i;
    if (axis.kind === 'steps') {
      var first = low === undefined ? 0 : tables.below(axis.places, low);
      var last = high === undefined ? axis.numbers - 1 : tables.below(axis.places, high);
      for (i = first; i <= last; i++) found.push(i);
      return found;
    }
    axis.places.forEach(function (place, i) {
      if ((low === undefined || place >= low) && (high === undefined || place <= high)) found.push(i);
    });
    return found;
  }
  function mean(curve, values, entries) {
    var weight = 0, sum = 0;
    entries.forEach(function (i) {
      var share = Math.max(curve.density[i], 1e-12);
      weight += share;
      sum += share * values[i];
    });
    return sum / weight;
  }
  function apply(values, curve, edit) {
    var axis = curve.axes[0];
    if (edit.remove) return values.map(function () { return 0; });
    if (edit.set || edit.flatten) {
      var entries = chosen(curve, edit.set || edit.flatten);
      var value = edit.set ? edit.set.value : mean(curve, values, entries);
      entries.forEach(function (i) { values[i] = value; });
    }
    if (edit.monotone) {
      var sign = edit.monotone === 'increasing' ? 1 : -1, weights = [];
      for (var i = 0; i < axis.numbers; i++) weights.push(Math.max(curve.density[i], 1e-12));
      isotonic(values.slice(0, axis.numbers).map(function (v) { return sign * v; }), weights)
        .forEach(function (v, i) { values[i] = sign * v; });
    }
    Object.keys(edit.levels || {}).forEach(function (name) {
      values[axis.numbers + axis.labels.indexOf(name)] = edit.levels[name];
    });
    return values;
  }
  function current(k, c) {  // values of a curve after all edits
    var curve = all.curves[k], values = shownOf(curve, c);
    edits.forEach(function (edit) {
      if (edit.unit !== curve.unit) return;
      if (edit['class'] !== undefined && all.classes.indexOf(edit['class']) !== c) return;
      values = apply(values, curve, edit);
    });
    return values;
  }
  function text(value) {  // as YAML, which reads JSON
    if (typeof value === 'string') {
      return JSON.stringify(value).replace(/[\\u007f-\\u009f\\u2028\\u2029\\ufeff]/g, function (one) {
        return '\\\\u' + ('000' + one.charCodeAt(0).toString(16)).slice(-4);
      });
    }
    if (typeof value !== 'object') return String(value);
    return '{' + Object.keys(value).map(function (key) {
      return (/^[a-z]+$/.test(key) && words.indexOf(key) >= 0 ? key : text(key)) + ': ' + text(value[key]);
    }).join(', ') + '}';
  }
  function yaml() { return edits.map(function (edit) { return '- ' + text(edit) + '\\n'; }).join(''); }
"""

DRAW = """
  var space = 'http://www.w3.org/2000/svg';
  function draw(item) {
    var k = Number(item.dataset.curve), curve = all.curves[k];
    var mine = edits.filter(function (edit) { return edit.unit === curve.unit; });
    item.classList.toggle('removed', mine.some(function (edit) { return edit.remove; }));
    if (curve.axes.length > 1) return;
    item.querySelectorAll('[data-class]').forEach(function (holder) {
      var c = Number(holder.dataset['class']), svg = holder.querySelector('svg'), values = current(k, c);
      if (svg.classList.contains('chart')) line(svg, curve, values, mine.length > 0);
      else levels(svg, values, shownOf(curve, c));
    });
  }
  function line(svg, curve, values, edited) {
    var axis = curve.axes[0], size = all.geometry.chart, path = '', old = svg.querySelector('.curve');
    var low = Number(svg.dataset.low), high = Number(svg.dataset.high), made = svg.querySelector('.new');
    function x(share) { return (size.left + size.across * share).toFixed(2); }
    function y(value) {
      return (size.top + size.plot * (high - Math.min(Math.max(value, low), high)) / (high - low)).toFixed(3);
    }
    old.classList.toggle('old', edited);
    if (!edited) { if (made) made.remove(); return; }
    values.forEach(function (value, i) {
      if (axis.kind === 'points' && i < axis.numbers) {
        path += (i ? 'L' : 'M') + x(tables.at(axis, axis.places[i])) + ' ' + y(value);
        return;
      }
      var ends = tables.span(axis, i), gap = i < axis.numbers ? 0 : 0.012;
      path += (i && !gap ? 'V' + y(value) : 'M' + x(ends[0] + gap) + ' ' + y(value)) + 'H' + x(ends[1] - gap);
    });
    if (!made) {
      made = document.createElementNS(space, 'path');
      made.setAttribute('class', 'curve new');
      old.after(made);
    }
    made.setAttribute('d', path);
  }
  function levels(svg, values, before) {
    var low = Number(svg.dataset.low), high = Number(svg.dataset.high), size = all.geometry.bars;
    function x(value) {
      return size.left + size.across * (Math.min(Math.max(value, low), high) - low) / (high - low);
    }
    svg.querySelectorAll('.level').forEach(function (level) {
      var i = Number(level.dataset.entry), value = values[i], bar = level.querySelector('.up, .down');
      var shown = level.querySelector('.value');
      if (level.dataset.was === undefined) level.dataset.was = shown.textContent;
      var same = value === before[i], digits = (level.dataset.was.split('.')[1] || '').length;
      level.classList.toggle('edited', !same);
      bar.setAttribute('class', value < 0 ? 'down' : 'up');
      bar.setAttribute('x', Math.min(x(0), x(value)));
      bar.setAttribute('width', Math.abs(x(value) - x(0)));
      var number = (value > 0 ? '+' : '') + value.toFixed(digits).replace('-', '\\u2212');
      shown.textContent = same ? level.dataset.was : number;
    });
  }
"""

EDIT = (
    "(function () {\n"
    + TABLES
    + """
  'use strict';
  var tables = zooTables(), all = tables.all, edits = [];
  var words = ['unit', 'class', 'set', 'flatten', 'monotone', 'levels', 'remove', 'from', 'to', 'value'];
"""
    + STATE
    + DRAW
    + """
  var items = Array.prototype.slice.call(document.querySelectorAll('.curves > li'));
  var choice = document.querySelector('#class'), list = document.querySelector('#edits');
  function shownClass() {
    if (choice) return Number(choice.value);
    return all.classes.length === 2 && all.weights ? 1 : all.classes.length - 1;
  }
  function show() {
    items.forEach(draw);
    list.textContent = yaml();
    list.scrollTop = list.scrollHeight;
    var count = edits.length;
    document.querySelector('#count').textContent = count ? count + (count === 1 ? ' edit' : ' edits') : 'no edits';
    document.querySelector('#undo').disabled = document.querySelector('#export').disabled = !count;
  }
  function add(curve, what) {
    var edit = { unit: curve.unit };
    if (all.classes.length > 2 && !what.remove) edit['class'] = all.classes[shownClass()];
    edits.push(Object.assign(edit, what));
    show();
  }
  function numberIn(item, name) {
    var field = item.querySelector('.edit .' + name), value = Number(field.value);
    return field.value === '' || !isFinite(value) ? undefined : value;
  }
  function limits(item) {
    var found = {}, low = numberIn(item, 'from'), high = numberIn(item, 'to');
    if (low !== undefined) found.from = low;
    if (high !== undefined) found.to = high;
    return low !== undefined && high !== undefined && low > high ? null : found;
  }
  function act(item, action) {
    var curve = all.curves[Number(item.dataset.curve)];
    if (action === 'remove') return add(curve, { remove: true });
    if (action === 'increasing' || action === 'decreasing') return add(curve, { monotone: action });
    if (action === 'level') {
      var option = item.querySelector('.level-name').selectedOptions[0], given = numberIn(item, 'level-value');
      if (given === undefined) return item.querySelector('.level-value').focus();
      if (option.dataset.rank !== '') {
        var rank = Number(option.dataset.rank);
        return add(curve, { set: { from: rank, to: rank, value: given } });
      }
      var levels = {};
      levels[curve.axes[0].labels[Number(option.value) - curve.axes[0].numbers]] = given;
      return add(curve, { levels: levels });
    }
    var between = limits(item);
    if (!between || !chosen(curve, between).length) return item.querySelector('.edit .to').focus();
    if (action === 'flatten') return add(curve, { flatten: between });
    var value = numberIn(item, 'value');
    if (value === undefined) return item.querySelector('.edit .value').focus();
    between.value = value;
    add(curve, { set: between });
  }
"""
    + DRAG
    + """
  items.forEach(function (item) {
    item.querySelectorAll('[data-do]').forEach(function (button) {
      button.addEventListener('click', function () { act(item, button.dataset['do']); });
    });
    if (item.querySelector('.edit')) {
      item.querySelectorAll('.chart').forEach(function (svg) { drag(item, svg); });
    }
  });
  if (list) document.querySelector('#undo').addEventListener('click', function () { edits.pop(); show(); });
  if (list) document.querySelector('#export').addEventListener('click', function () {
    var link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([yaml()], { type: 'application/yaml' }));
    link.download = 'edits.yaml';
    document.body.appendChild(link);
    link.click();
    link.remove();
    URL.revokeObjectURL(link.href);
  });
  if (choice) choice.addEventListener('input', function () {
    document.querySelectorAll('[data-class]').forEach(function (holder) {
      holder.hidden = holder.dataset['class'] !== choice.value;
    });
  });
  var field = document.querySelector('#find');
  field.addEventListener('input', function () {
    var word = field.value.toLowerCase(), left = 0;
    items.forEach(function (item) {
      item.hidden = item.dataset.words.indexOf(word) < 0;
      left += !item.hidden;
    });
    document.querySelector('#none').hidden = left > 0;
  });
  document.querySelector('main').dataset.live = '1';
  window.curveEditor = { yaml: yaml, current: current };
})();
"""
)
