"""The JavaScript of changed columns: scores from the tables of the curves, waterfall, and marks in the curves."""

TABLES = """
function zooTables() {
  'use strict';
  var holder = document.querySelector('#curve-data');
  if (!holder) return null;
  var all = JSON.parse(holder.textContent);
  function floats(text) {
    var raw = atob(text), bytes = new Uint8Array(raw.length);
    for (var i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Float32Array(bytes.buffer);
  }
  all.curves.forEach(function (curve) {
    curve.values = floats(curve.values);
    if (curve.density) curve.density = floats(curve.density);
    curve.sizes = curve.axes.map(function (axis) { return axis.numbers + axis.labels.length; });
    curve.outputs = curve.values.length / curve.sizes.reduce(function (a, b) { return a * b; }, 1);
  });
  function below(places, value) {  // edges that are not above a value
    var low = 0, high = places.length;
    while (low < high) {
      var middle = (low + high) >> 1;
      if (places[middle] <= value) low = middle + 1; else high = middle;
    }
    return low;
  }
  function weights(axis, place) {  // [entry, weight] of a place, which is [number or null, label]
    if (place[0] === null || !axis.numbers) {
      var label = axis.labels.indexOf(place[1]);
      return label < 0 ? [] : [[axis.numbers + label, 1]];
    }
    var i = below(axis.places, place[0]);
    if (axis.kind === 'steps') return [[i, 1]];
    if (i === 0 || axis.places.length === 1) return [[0, 1]];
    if (i === axis.places.length) return [[i - 1, 1]];
    var share = (place[0] - axis.places[i - 1]) / (axis.places[i] - axis.places[i - 1]);
    return [[i - 1, 1 - share], [i, share]];
  }
  function effect(curve, places) {  // of a unit on every class
    var sum = [], found = curve.axes.map(function (axis, a) { return weights(axis, places[curve.columns[a]]); });
    for (var o = 0; o < curve.outputs; o++) sum.push(0);
    found[0].forEach(function (first) {
      (found[1] || [[0, 1]]).forEach(function (second) {
        var entry = found[1] ? first[0] * curve.sizes[1] + second[0] : first[0];
        for (var o = 0; o < curve.outputs; o++) {
          sum[o] += first[1] * second[1] * curve.values[entry * curve.outputs + o];
        }
      });
    });
    return all.weights ? all.weights.map(function (weight) { return weight * sum[0]; }) : sum;
  }
  function at(axis, value) {  // share of the width of a number
    var knots = axis.knots, last = knots.length - 1;
    value = Math.min(Math.max(value, knots[0][0]), knots[last][0]);
    var i = 1;
    while (i < last && knots[i][0] <= value) i++;
    return knots[i - 1][1] +
      (knots[i][1] - knots[i - 1][1]) * (value - knots[i - 1][0]) / (knots[i][0] - knots[i - 1][0]);
  }
  function span(axis, entry) {  // left and right end of an entry
    if (entry >= axis.numbers) {
      var left = axis.room + (axis.numbers ? all.gap : 0) + (entry - axis.numbers) * axis.slot;
      return [left, left + axis.slot];
    }
    var ends = axis.places;
    if (axis.kind === 'points') {
      ends = ends.slice(1).map(function (place, i) { return (place + axis.places[i]) / 2; });
    }
    return [entry ? at(axis, ends[entry - 1]) : 0, entry < ends.length ? at(axis, ends[entry]) : axis.room];
  }
  return { all: all, below: below, weights: weights, effect: effect, at: at, span: span };
}
"""

COLUMNS = (
    "(function () {\n"
    + TABLES
    + """
  'use strict';
  var tables = zooTables();
  if (!tables) return;
  var all = tables.all;
  document.querySelectorAll('.view').forEach(function (view) {
    var fields = view.querySelectorAll('.column'), holder = view.querySelector('.row-data');
    if (!view.whatIf || !holder) return;
    var what = view.whatIf, row = JSON.parse(holder.textContent), touched = false;
    var places = row.start.slice();
    var steps = Array.prototype.slice.call(view.querySelectorAll('.fall > .term'));
    var score = view.querySelector('.fall > .score');
    steps.forEach(function (step) {
      var head = step.querySelector('h4 bdi');
      step.curve = null;
      all.curves.forEach(function (curve, c) { if (c === Number(step.dataset.curve)) step.curve = curve; });
      step.named = step.curve && head.textContent === named(step.curve, row.start);
    });

    function named(curve, places) {
      var order = curve.columns.slice().sort(function (a, b) { return a - b; });
      return order.map(function (c) { return all.columns[c] + ' = ' + places[c][1]; }).join(', ');
    }
    function changed(c) { return places[c][0] !== row.start[c][0] || places[c][1] !== row.start[c][1]; }
    function shifts() {  // of each unit of the panel on every class
      var found = {};
      all.curves.forEach(function (curve, c) {
        if (!curve.columns.some(changed)) return;
        var k = row.units[c], after = tables.effect(curve, places), before = tables.effect(curve, row.start);
        found[k] = (found[k] || what.data.bias.map(function () { return 0; })).map(function (sum, i) {
          return sum + after[i] - before[i];
        });
      });
      return found;
    }
    function read(field, source) {  // the place that a control stands for
      var c = Number(field.dataset.column), select = field.querySelector('select');
      var number = field.querySelector('[type=number]'), slider = field.querySelector('[type=range]');
      if (source === slider) {
        var fine = slider.step === 'any';
        number.value = fine ? Number(Number(slider.value).toPrecision(4)) : slider.value;
      }
      if (select && number && (source === slider || source === number)) select.value = 'n';
      var chosen = select ? select.value : 'n';
      if (chosen[0] === 'l') return [null, row.labels[c][Number(chosen.slice(1))]];
      if (chosen[0] === 'r') return [Number(chosen.slice(1)), select.selectedOptions[0].textContent];
      if (number.value === '' || !isFinite(Number(number.value))) return row.start[c];
      if (source !== slider) slider.value = number.value;
      return [Number(number.value), String(Number(number.value))];
    }
    function same(c, place) {  // a number as it was has the exact value of the row
      var start = row.start[c];
      return place[1] === start[1] && (place[0] === null) === (start[0] === null);
    }
    function update() {
      view.shifts = shifts();
      fields.forEach(function (field) {
        field.classList.toggle('changed', changed(Number(field.dataset.column)));
      });
      touched = true;
    }
    fields.forEach(function (field) {
      field.addEventListener('input', function (event) {
        var c = Number(field.dataset.column), place = read(field, event.target);
        places[c] = same(c, place) ? row.start[c] : place;
        update();
      });
    });
    var initial = Array.prototype.map.call(view.querySelectorAll('.column input, .column select'), function (input) {
      return [input, input.value];
    });
    view.querySelector('.what-if button').addEventListener('click', function () {
      initial.forEach(function (pair) { pair[0].value = pair[1]; });
      places = row.start.slice();
      update();
      what.show();
    });

    function fixed(value, sign) {
      var text = Math.abs(value).toFixed(what.data.digits);
      return (value < 0 && Number(text) !== 0 ? '\\u2212' : sign && Number(text) !== 0 ? '+' : '') + text;
    }
    function rounded(value) { return Number(value.toFixed(what.data.digits)); }
    function waterfall() {
      var total = rounded(what.relative(what.scores()));
      var parts = [rounded(what.relative(what.data.bias))];
      what.data.units.forEach(function (_, k) { parts.push(rounded(what.relative(what.effects(k)))); });
      var sum = function (list) { return list.reduce(function (a, b) { return a + b; }, 0); };
      if (steps.length > view.querySelectorAll('.fall > .term[data-curve]').length + 1) {
        var count = steps.length - 1;  // the last one takes the rounding error
        parts = parts.slice(0, count);
        parts.push(rounded(total - sum(parts)));
      }
      var ends = [0];
      parts.forEach(function (part) { ends.push(ends[ends.length - 1] + part); });
      var low = Math.min.apply(null, ends), high = Math.max.apply(null, ends), wide = high - low || 1;
      function draw(step, from, to, text) {
        var outer = step.querySelector('.step'), inner = outer.querySelector('span');
        outer.style.setProperty('--zero', -100 * low / wide + '%');
        inner.style.left = 100 * (Math.min(from, to) - low) / wide + '%';
        inner.style.width = 100 * Math.abs(to - from) / wide + '%';
        if (inner.className !== 'level') inner.className = to < from ? 'down' : 'up';
        step.querySelector('.amount').textContent = text;
      }
      steps.forEach(function (step, i) {
        draw(step, ends[i], ends[i + 1], fixed(parts[i], i > 0));
        if (step.named) step.querySelector('h4 bdi').textContent = named(step.curve, places);
        if (step.curve) mark(step, step.curve);
        var error = step.querySelector('.error');
        if (error) error.hidden = step.curve.columns.some(changed);
      });
      draw(score, 0, total, fixed(total));
    }
    function mark(step, curve) {
      var own = curve.columns.map(function (c) { return places[c]; }), chart = step.querySelector('.chart');
      var here = step.querySelector('.here'), size = all.geometry;
      step.querySelectorAll('.level').forEach(function (level) {
        if (level.dataset) level.classList.toggle('own', level.dataset.name === own[0][1]);
      });
      if (!here) return;
      var found = own.map(function (place, a) { return tables.weights(curve.axes[a], place); });
      here.style.display = found.every(function (one) { return one.length; }) ? '' : 'none';
      if (here.style.display) return;
      var near = found.map(function (one) { return one[one.length > 1 && one[1][1] > 0.5 ? 1 : 0][0]; });
      if (chart) {
        var axis = curve.axes[0], low = Number(chart.dataset.low), high = Number(chart.dataset.high);
        var ends = tables.span(axis, near[0]);
        var share = own[0][0] === null ? (ends[0] + ends[1]) / 2 : tables.at(axis, own[0][0]);
        var x = size.chart.left + size.chart.across * share;
        var value = what.relative(tables.effect(curve, places)) + Number(chart.dataset.shift);
        here.querySelector('line').setAttribute('x1', x);
        here.querySelector('line').setAttribute('x2', x);
        here.querySelector('circle').setAttribute('cx', x);
        var y = size.chart.top + size.chart.plot * (high - value) / (high - low);
        here.querySelector('circle').setAttribute('cy', y);
        return;
      }
      var up = tables.span(curve.axes[0], near[0]), right = tables.span(curve.axes[1], near[1]);
      var across = Math.max(size.map.across * (right[1] - right[0]), 5);
      var tall = Math.max(size.map.down * (up[1] - up[0]), 5);
      here.querySelectorAll('rect').forEach(function (rect) {
        rect.setAttribute('x', size.map.left + size.map.across * (right[0] + right[1]) / 2 - across / 2);
        rect.setAttribute('y', size.map.top + size.map.down * (1 - (up[0] + up[1]) / 2) - tall / 2);
        rect.setAttribute('width', across);
        rect.setAttribute('height', tall);
      });
    }
    view.addEventListener('shown', function () { if (touched) waterfall(); });
    view.addEventListener('input', function () { touched = true; }, true);
    view.columns = { places: function () { return places; }, row: row };
  });
})();
"""
)
