"""JavaScript that runs a weight-sparse transformer, with nodes and edges ablated, from plain arrays.

It is the forward pass of `zoo.circuits.network`, in double precision, written again for the browser.
"""

ENGINE = """
const engine = (function () {
  'use strict';
  const SITES = ['attn_in', 'attn_q', 'attn_k', 'attn_v', 'attn_out', 'mlp_in', 'mlp_neuron', 'mlp_out'];
  const TYPES = { f4: Float32Array, i4: Int32Array, i2: Int16Array, u1: Uint8Array };

  function unpack(value) {  // arrays from base64, everywhere in plain data
    if (Array.isArray(value)) return value.map(unpack);
    if (value === null || typeof value !== 'object') return value;
    if (value.base64 !== undefined) {
      const text = atob(value.base64), bytes = new Uint8Array(text.length);
      for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
      return new TYPES[value.type](bytes.buffer);
    }
    return Object.fromEntries(Object.entries(value).map(function (pair) { return [pair[0], unpack(pair[1])]; }));
  }

  function erf(x) {  // a series of positive terms, exact to about 1e-16
    if (Math.abs(x) > 6) return Math.sign(x);
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= 2 * x * x / (2 * n + 1);
      sum += term;
    }
    return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
  }

  function gelu(x) { return x * 0.5 * (1 + erf(x / Math.SQRT2)); }

  function topk(values, start, end, k) {  // zeroes all but the k largest magnitudes; ties go to the lowest index
    const n = end - start;
    if (k >= n) return;
    const sizes = new Float64Array(n);
    for (let i = 0; i < n; i++) sizes[i] = Math.abs(values[start + i]);
    const least = sizes.slice().sort()[n - k];
    let free = k;
    for (let i = 0; i < n; i++) if (sizes[i] > least) free--;
    for (let i = 0; i < n; i++) {
      if (sizes[i] > least) continue;
      if (sizes[i] === least && free > 0) { free--; continue; }
      values[start + i] = 0;
    }
  }

  function create(net) {
    const d = net.width, wide = d / net.heads, size = {}, first = {};
    let nodes = 0;
    SITES.forEach(function (site) {
      size[site] = site === 'mlp_neuron' ? net.neurons : d;
      first[site] = nodes;
      nodes += size[site];
    });

    function read(x, norm, positions, t, k, on, place) {  // what a sublayer reads of one position
      const extra = positions ? positions.length / net.length : 0, seen = new Float64Array(d + extra);
      let square = 0;
      for (let c = 0; c < d; c++) square += x[c] * x[c];
      const scale = 1 / Math.sqrt(square / d + net.epsilon);
      for (let c = 0; c < d; c++) seen[c] = x[c] * scale * norm[c];
      for (let c = 0; c < extra; c++) seen[d + c] = positions[t * extra + c];
      topk(seen, 0, d + extra, k);
      ablate(seen, d, on, place);
      return seen;
    }
    function ablate(values, n, on, place) {
      if (on) for (let c = 0; c < n; c++) if (!on[place + c]) values[c] = net.means[place + c];
    }
    function product(matrix, x, cuts, means) {  // the matrix times x, and its base
      const out = Float64Array.from(matrix.base);
      for (let i = 0; i < matrix.columns.length; i++) {
        const value = x[matrix.columns[i]];
        if (value !== 0) {
          for (let j = matrix.start[i]; j < matrix.start[i + 1]; j++) out[matrix.rows[j]] += matrix.weights[j] * value;
        }
      }
      (cuts || []).forEach(function (cut) { out[cut.row] += cut.weight * (means[cut.column] - x[cut.column]); });
      return out;
    }
    function sorted(edges) {  // ablated edges by layer and matrix
      const found = {};
      edges.forEach(function (edge) {
        const layer = Math.floor(edge.to / nodes), to = edge.to % nodes, from = edge.from % nodes;
        let name, row, column;
        if (to < first.attn_out) [name, row, column] = ['qkv', to - first.attn_q, from - first.attn_in];
        else if (to < first.mlp_in) [name, row, column] = ['out', to - first.attn_out, from - first.attn_v];
        else if (to < first.mlp_out) [name, row, column] = ['up', to - first.mlp_neuron, from - first.mlp_in];
        else [name, row, column] = ['down', to - first.mlp_out, from - first.mlp_neuron];
        const key = layer + name;
        (found[key] = found[key] || []).push({ row: row, column: column, weight: edge.weight });
      });
      return found;
    }
    function attend(block, q, k, v) {  // attention weights [head][i][j <= i], and what each position gathers
      const T = q.length, weights = [], gathered = q.map(function () { return new Float64Array(d + net.heads); });
      for (let h = 0; h < net.heads; h++) {
        const rows = [];
        for (let i = 0; i < T; i++) {
          const row = new Float64Array(i + 1);
          let most = block.sink ? block.sink[h] : -Infinity;
          for (let j = 0; j <= i; j++) {
            let sum = 0;
            for (let c = h * wide; c < (h + 1) * wide; c++) sum += q[i][c] * k[j][c];
            row[j] = sum / Math.sqrt(wide);
            most = Math.max(most, row[j]);
          }
          let total = block.sink ? Math.exp(block.sink[h] - most) : 0;
          for (let j = 0; j <= i; j++) total += row[j] = Math.exp(row[j] - most);
          let mass = 0;
          for (let j = 0; j <= i; j++) {
            row[j] /= total;
            mass += row[j];
            for (let c = h * wide; c < (h + 1) * wide; c++) gathered[i][c] += row[j] * v[j][c];
          }
          gathered[i][d + h] = mass;
          rows.push(row);
        }
        weights.push(rows);
      }
      return [weights, gathered];
    }

    // A pass over token numbers. on: for each node 1 if it is not ablated, or null for the complete network.
    // edges: ablated ones {from, to, weight}. The result has logits of `net.shown`; if `record` it also has the values
    // of each site, those before AbsTopK and ablation, what attention gathers, and the attention weights.
    function run(tokens, on, edges, record) {
      const T = tokens.length, cuts = sorted(edges || []), values = [], attention = [], kept = net.kept;
      const stream = tokens.map(function (token, t) {
        const x = new Float64Array(d), table = net.embedding;
        for (let i = table.start[token]; i < table.start[token + 1]; i++) x[table.index[i]] = table.value[i];
        if (net.positions) for (let c = 0; c < d; c++) x[c] += net.positions[t * d + c];
        return x;
      });
      function part(values, from) { return values.slice(from, from + d); }
      for (let layer = 0; layer < net.layers; layer++) {
        const block = net.blocks[layer], at = layer * nodes, means = net.means, here = { before: {} };
        function place(site) { return at + first[site]; }
        function rows(site) { return means.subarray(place(site), place(site) + size[site]); }
        function gate(site) {
          if (record) here.before[site] = [];
          return function (x) {
            if (record) here.before[site].push(x.slice());
            topk(x, 0, x.length, kept[site]);
            ablate(x, x.length, on, place(site));
            return x;
          };
        }
        here.attn_in = stream.map(function (x, t) {
          return read(x, block.attn_norm, block.attn_positions, t, kept.attn_in, on, place('attn_in'));
        });
        const qkv = here.attn_in.map(function (x) {
          return product(block.qkv, x, cuts[layer + 'qkv'], rows('attn_in'));
        });
        ['attn_q', 'attn_k', 'attn_v'].forEach(function (site, i) {
          here[site] = qkv.map(function (x) { return part(x, i * d); }).map(gate(site));
        });
        const [weights, gathered] = attend(block, here.attn_q, here.attn_k, here.attn_v);
        here.gathered = gathered;
        const means_of_gathered = net.gathered.subarray(layer * d, (layer + 1) * d);
        here.attn_out = gathered.map(function (x) {
          return product(block.out, x, cuts[layer + 'out'], means_of_gathered);
        }).map(gate('attn_out'));
        stream.forEach(function (x, t) { for (let c = 0; c < d; c++) x[c] += here.attn_out[t][c]; });
        here.mlp_in = stream.map(function (x, t) {
          return read(x, block.mlp_norm, block.mlp_positions, t, kept.mlp_in, on, place('mlp_in'));
        });
        const sums = here.mlp_in.map(function (x) { return product(block.up, x, cuts[layer + 'up'], rows('mlp_in')); });
        here.mlp_neuron = sums.map(function (x) { return x.map(gelu); }).map(gate('mlp_neuron'));
        here.before.mlp_neuron = sums;
        here.mlp_out = here.mlp_neuron.map(function (x) {
          return product(block.down, x, cuts[layer + 'down'], rows('mlp_neuron'));
        }).map(gate('mlp_out'));
        stream.forEach(function (x, t) { for (let c = 0; c < d; c++) x[c] += here.mlp_out[t][c]; });
        if (record) {
          values.push(here);
          attention.push(weights);
        }
      }
      const [scale, found] = logits(stream[T - 1], tokens[T - 1]);
      return { logits: found, scale: scale, values: values, attention: attention };
    }
    function logits(x, token) {  // scale of the last norm, and logits
      const table = net.unembedding, shown = net.shown, read = new Float64Array(d);
      let square = 0;
      for (let c = 0; c < d; c++) square += x[c] * x[c];
      const scale = 1 / Math.sqrt(square / d + net.epsilon);
      for (let c = 0; c < d; c++) read[c] = x[c] * scale * net.norm[c];
      return [scale, Float64Array.from(shown, function (word, i) {
        let sum = net.bigram ? net.bigram[token * shown.length + i] : 0;
        for (let j = table.start[word]; j < table.start[word + 1]; j++) sum += table.value[j] * read[table.index[j]];
        return sum;
      })];
    }
    function locate(node) {  // layer, site and index of a node
      const rest = node % nodes, site = SITES.find(function (s) { return rest < first[s] + size[s]; });
      return { layer: Math.floor(node / nodes), site: site, index: rest - first[site] };
    }
    return { run: run, locate: locate, nodes: nodes * net.layers };
  }
  return { unpack: unpack, create: create, erf: erf };
})();
"""
