"""JavaScript of the state of a circuit's page: the chosen prompt, node, and what is ablated."""

STATE = """
const circuit = (function () {
  'use strict';
  const data = engine.unpack(JSON.parse(document.getElementById('circuit-data').textContent));
  const net = data.network, runner = engine.create(net);
  const shown = new Map(Array.from(net.shown, function (token, i) { return [token, i]; }));
  function strongestOf(all) {
    return all.reduce(function (best, node, i) { return node.effect > all[best].effect ? i : best; }, 0);
  }
  const state = {
    data: data, runner: runner, tokens: data.prompts.length ? data.prompts[0].tokens : [2],
    node: strongestOf(data.nodes),
    answers: null, off: new Set(), least: 0, edges: data.edges.length, whole: false
  };
  const byEffect = data.nodes.map(function (_, i) { return i; }).sort(function (a, b) {
    return data.nodes[a].effect - data.nodes[b].effect || a - b;
  });
  const strongest = data.edges.map(function (_, i) { return i; }).sort(function (a, b) {
    return data.edges[b].effect - data.edges[a].effect || a - b;
  });
  const nodeRank = [], edgeRank = [], listeners = [], recorded = new Map();
  byEffect.forEach(function (i, rank) { nodeRank[i] = rank; });
  strongest.forEach(function (i, rank) { edgeRank[i] = rank; });

  state.alive = function (i) { return !state.off.has(i) && nodeRank[i] >= state.least; };
  state.kept = function (i) {  // edge i, and both of its ends
    const edge = data.edges[i];
    return edgeRank[i] < state.edges && state.alive(edge.from) && state.alive(edge.to);
  };
  state.order = byEffect;
  state.mask = function () {
    const on = new Uint8Array(runner.nodes);
    data.nodes.forEach(function (node, i) { if (state.alive(i)) on[node.number] = 1; });
    return on;
  };
  state.cuts = function () {  // ablated edges: those that the search removed, and those that the reader did
    const more = data.edges.filter(function (_, i) { return edgeRank[i] >= state.edges; });
    return data.removed.concat(more.map(function (edge) {
      return { from: data.nodes[edge.from].number, to: data.nodes[edge.to].number, weight: edge.weight };
    }));
  };
  state.run = function (tokens, record) { return runner.run(tokens, state.mask(), state.cuts(), record); };
  state.recorded = function (tokens) {  // a pass whose values are shown
    const key = state.whole + tokens.join();
    if (!recorded.has(key)) recorded.set(key, state.whole ? state.complete(tokens) : state.run(tokens, true));
    return recorded.get(key);
  };
  state.complete = function (tokens) { return net.complete ? runner.run(tokens, null, [], true) : null; };
  state.logit = function (run, token) { return shown.has(token) ? run.logits[shown.get(token)] : null; };
  state.value = function (run, i, t) {  // of node i of the circuit at a token
    const node = data.nodes[i];
    return run.values[node.layer][node.site][t][node.index];
  };
  state.onchange = function (listener) { listeners.push(listener); };
  state.changed = function (what) {
    if (what === 'size' || what === 'prompt') recorded.clear();
    listeners.forEach(function (listener) { listener(what); });
  };
  state.choose = function (i) {
    state.node = i;
    state.changed('node');
  };
  state.word = function (token) { return data.texts[token]; };

  // Elements
  state.make = function (name, attributes, children) {
    const made = document.createElement(name);
    Object.entries(attributes || {}).forEach(function (pair) { made.setAttribute(pair[0], pair[1]); });
    (Array.isArray(children) ? children : children === undefined ? [] : [children]).forEach(function (child) {
      made.append(child);
    });
    return made;
  };
  state.signed = function (value, digits) {
    const text = Math.abs(value).toFixed(digits === undefined ? 2 : digits);
    return (Number(text) === 0 ? '' : value < 0 ? '\\u2212' : '+') + text;
  };
  state.visible = function (text) { return text.replace(/\\n/g, '\\u23ce').replace(/ /g, '\\u2423'); };
  state.shade = function (element, value, largest) {
    const share = largest ? Math.min(70 * Math.abs(value) / largest, 70) : 0;
    element.style.background =
      'color-mix(in srgb,var(--' + (value < 0 ? 'down' : 'up') + ') ' + share.toFixed(0) + '%,transparent)';
    return element;
  };
  state.chip = function (token, value, digits) {  // a token and its number
    const parts = [state.make('code', {}, state.visible(state.word(token)))];
    if (value !== undefined) parts.push(state.make('small', {}, ' ' + state.signed(value, digits)));
    return state.make('span', { 'class': 'chip ' + (value < 0 ? 'down' : 'up') }, parts);
  };
  state.link = function (i) {  // a button that shows node i
    const button = state.make('button', { type: 'button', 'class': 'node-link' }, data.nodes[i].node);
    button.addEventListener('click', function () {
      state.choose(i);
      const panel = document.getElementById('node');
      panel.focus({ preventScroll: true });
    });
    return button;
  };
  return state;
})();
"""
