"""The JavaScript of `zoo.views.episode`: scenes, terms of a step, and the slider."""

SCENES = """
  var SVG = 'http://www.w3.org/2000/svg';
  function shape(name, attributes, text) {
    var made = document.createElementNS(SVG, name);
    Object.keys(attributes).forEach(function (key) { made.setAttribute(key, attributes[key]); });
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function line(x1, y1, x2, y2, style) {
    return shape('line', {x1: x1, y1: y1, x2: x2, y2: y2, 'class': style});
  }
  function arrow(x, y, length) {  // a horizontal arrow of signed length
    if (!length) return [];
    var tip = x + length, back = tip - Math.sign(length) * 8;
    return [line(x, y, tip, y, 'push'), line(tip, y, back, y - 6, 'push'), line(tip, y, back, y + 6, 'push')];
  }
  function turn(x, y, torque) {  // a curved arrow, against the clock for positive torques
    if (Math.abs(torque) < 1e-3) return [];
    var way = torque > 0 ? 1 : -1, r = 20, span = Math.min(Math.abs(torque), 2) * 0.9 + 0.3, from = -Math.PI / 2;
    var to = from - way * span;
    var a = [x + r * Math.cos(from), y + r * Math.sin(from)], b = [x + r * Math.cos(to), y + r * Math.sin(to)];
    var path = 'M' + a + 'A' + [r, r, 0, span > Math.PI ? 1 : 0, way > 0 ? 0 : 1, b].join(' ');
    return [shape('path', {d: path, 'class': 'push'}), shape('circle', {cx: b[0], cy: b[1], r: 4, 'class': 'tip'})];
  }
  var scenes = {
    cartpole: function (s, action) {
      var x = 200 + s[0] / 2.4 * 170, y = 190, length = 120;
      return [line(30, 200, 370, 200, 'ground'), line(30, 192, 30, 208, 'ground'), line(370, 192, 370, 208, 'ground'),
        shape('rect', {x: x - 26, y: y - 14, width: 52, height: 24, rx: 4, 'class': 'body'}),
        line(x, y - 14, x + length * Math.sin(s[2]), y - 14 - length * Math.cos(s[2]), 'pole')
      ].concat(arrow(x + (action ? 32 : -32), y, action ? 34 : -34));
    },
    mountaincar: function (s, action) {
      function at(p) { return [20 + (p + 1.2) / 1.8 * 360, 190 - (Math.sin(3 * p) * 0.45 + 0.55) * 130]; }
      var points = [];
      for (var p = -1.2; p <= 0.6; p += 0.02) points.push(at(p).join(','));
      var car = at(s[0]), flag = at(0.5);
      return [shape('polyline', {points: points.join(' '), 'class': 'ground'}),
        line(flag[0], flag[1], flag[0], flag[1] - 34, 'ground'),
        shape('path', {d: 'M' + flag[0] + ' ' + (flag[1] - 34) + 'l18 7 -18 7z', 'class': 'tip'}),
        shape('circle', {cx: car[0], cy: car[1] - 9, r: 9, 'class': 'body'})
      ].concat(arrow(car[0] + 14 * (action - 1), car[1] - 9, 28 * (action - 1)));
    },
    acrobot: function (s, action) {
      var x = 200, y = 115, r = 50, a = s[0], b = s[0] + s[1];
      var mx = x + r * Math.sin(a), my = y + r * Math.cos(a);
      return [line(40, y - r, 360, y - r, 'ground'), line(x, y, mx, my, 'pole'),
        line(mx, my, mx + r * Math.sin(b), my + r * Math.cos(b), 'pole'),
        shape('circle', {cx: x, cy: y, r: 5, 'class': 'body'}), shape('circle', {cx: mx, cy: my, r: 5, 'class': 'body'})
      ].concat(turn(mx, my, action - 1));
    },
    pendulum: function (s, action) {
      var x = 200, y = 115, r = 90;
      return [line(x, y, x + r * Math.sin(-s[0]), y - r * Math.cos(s[0]), 'pole'),
        shape('circle', {cx: x, cy: y, r: 6, 'class': 'body'})].concat(turn(x, y, action));
    }
  };
"""

STEPS = """
  var data = JSON.parse(document.getElementById('episode-data').textContent);
  var root = document.getElementById('episode'), slider = root.querySelector('input[type=range]');
  var button = root.querySelector('button'), scene = root.querySelector('.scene svg'), timer = null;
  var cursors = Array.prototype.slice.call(root.querySelectorAll('.cursor'));
  function find(name) { return root.querySelector(name); }
  function number(value, digits) {
    var text = Math.abs(value).toFixed(digits);
    return (value < 0 && Number(text) ? '\\u2212' : '') + text;
  }
  function signed(value, digits) {
    return (value >= 0 ? '+' : '') + number(value, digits);
  }
  function margin(values, step) {  // a term of the chosen action minus that of the next best; or of the value
    return step.rival === null ? values[step.action] : values[step.action] - values[step.rival];
  }
  function cell(name, text, style) {
    var made = document.createElement(name);
    made.textContent = text;
    if (style) made.className = style;
    return made;
  }
  function bar(value, scale) {
    var made = cell('td', '', 'gauge'), inner = document.createElement('span'), share = 50 * Math.abs(value) / scale;
    inner.className = value < 0 ? 'down' : 'up';
    inner.style.width = share + '%';
    inner.style.left = (value < 0 ? 50 - share : 50) + '%';
    made.appendChild(inner);
    return made;
  }
  function row(name, said, value, scale, style) {
    var made = document.createElement('tr');
    if (style) made.className = style;
    [cell('th', name), cell('td', said, 'said'), bar(value, scale), cell('td', signed(value, 3), 'value')].forEach(
      function (part) { made.appendChild(part); });
    return made;
  }
  function show(t) {
    var step = data.steps[t];
    scene.replaceChildren.apply(scene, scenes[data.world](step.state, data.continuous ? step.value : step.action));
    find('.at').textContent = 'step ' + (t + 1) + ' of ' + data.steps.length + ' \\u00b7 return so far ' +
      number(step.sum, data.continuous ? 1 : 0);
    find('.action').textContent = data.continuous ? data.actions[0] + ' ' + number(step.value, 2) :
      data.actions[step.action];
    find('.against').textContent = step.rival === null ? '' : 'rather than ' + data.actions[step.rival] + ' by ' +
      number(margin(step.scores, step), 3) + (data.space === 'probability' ? '' : ' (logit)');
    find('.rule').textContent = step.rule;
    var seen = find('.observed');
    seen.replaceChildren();
    data.features.forEach(function (name, i) {
      seen.appendChild(cell('dt', name));
      seen.appendChild(cell('dd', number(step.observed[i], 3)));
    });
    var body = find('.terms tbody'), found = step.effects.map(function (e) { return margin(e, step); });
    var scale = data.largest;
    body.replaceChildren();
    data.units.forEach(function (name, k) {
      var made = row(name, step.said[k], found[k], scale, step.active[k] ? '' : 'idle');
      if (data.about[k]) made.firstChild.appendChild(cell('small', data.about[k]));
      body.appendChild(made);
    });
    body.appendChild(row('(start)', '', margin(step.bias, step), scale, 'start'));
    body.appendChild(row('sum', '', margin(step.scores, step), scale, 'total'));
    cursors.forEach(function (cursor) {
      var x = (t + 0.5) / data.steps.length * 1000;
      cursor.setAttribute('x1', x);
      cursor.setAttribute('x2', x);
    });
    slider.setAttribute('aria-valuetext', 'step ' + (t + 1) + ': ' + find('.action').textContent);
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    button.textContent = 'Play';
  }
  function play() {
    if (Number(slider.value) >= data.steps.length - 1) slider.value = 0;
    button.textContent = 'Pause';
    timer = setInterval(function () {
      if (Number(slider.value) >= data.steps.length - 1) { stop(); return; }
      slider.value = Number(slider.value) + 1;
      show(Number(slider.value));
    }, 50);
  }
  button.addEventListener('click', function () { if (timer === null) play(); else stop(); });
  slider.addEventListener('input', function () { stop(); show(Number(slider.value)); });
  document.addEventListener('keydown', function (event) {
    if (event.target === slider || event.target === button || event.altKey || event.ctrlKey || event.metaKey) return;
    var move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (move) {
      stop();
      slider.value = Number(slider.value) + move;
      show(Number(slider.value));
      event.preventDefault();
    }
  });
  root.querySelectorAll('.strip').forEach(function (strip) {
    strip.addEventListener('click', function (event) {
      var box = strip.getBoundingClientRect();
      stop();
      slider.value = Math.floor((event.clientX - box.left) / box.width * data.steps.length);
      show(Number(slider.value));
    });
  });
  root.classList.add('ready');
  show(0);
"""

SCRIPT = "(function () {\n  'use strict';" + SCENES + STEPS + "}());"
