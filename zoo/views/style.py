"""The style sheet of pages: system fonts, light and dark, blue and orange for signs (safe for colour-blind readers)."""

STYLE = """
.zoo{--ink:#1b1f24;--soft:#5c6673;--line:#dfe3e8;--paper:#fff;--ground:#f3f5f7;--up:#1f6fb4;--down:#c2620a;
font:16px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;color:var(--ink);background:var(--ground);margin:0;
color-scheme:light dark;-webkit-text-size-adjust:100%;print-color-adjust:exact}
@media (prefers-color-scheme:dark){.zoo{--ink:#e8ebef;--soft:#9aa5b1;--line:#343b44;--paper:#1d2228;--ground:#14181d;
--up:#6db3f2;--down:#f5a54a}}
.zoo *{box-sizing:border-box}
.zoo main{max-width:1080px;margin:0 auto;padding:24px 16px 48px}
.zoo p,.zoo h4,.zoo figure{margin:0}
.zoo h1{font-size:1.4rem;margin:0 0 16px;overflow-wrap:anywhere}
.zoo h3{font-size:1rem;margin:24px 0 2px}
.zoo h4{font-size:1rem;overflow-wrap:anywhere}
.zoo article{background:var(--paper);border:1px solid var(--line);border-radius:14px;padding:24px;margin:0 0 24px}
.zoo header{display:flex;gap:28px;flex-wrap:wrap;align-items:flex-start}
.zoo header>div{flex:1 1 260px;min-width:0}
.zoo .input{flex:0 1 260px}
.zoo .text{flex:1 1 320px;margin:0;padding:2px 0 2px 16px;border-left:3px solid var(--line);font-size:1.05rem;
overflow-wrap:anywhere}
.zoo .picture{display:block;width:100%;border-radius:8px;overflow:hidden;background:#888}
.zoo .halo,.zoo .box{fill:none;vector-effect:non-scaling-stroke}
.zoo .halo{stroke:#000;stroke-width:4.5px;opacity:.75}
.zoo .box{stroke:#ffd400;stroke-width:2.2px}
.zoo .mark{fill:#ffd400;stroke:#000;paint-order:stroke;font-weight:700}
.zoo .heat{display:none}
.zoo .view:has(.toggle :checked) .heat{display:inline}
.zoo .faded{opacity:.16}
.zoo .unknown{color:var(--soft);text-decoration:underline dotted 2px}
.zoo .warning{margin:4px 0 8px;padding:4px 12px;border-left:3px solid var(--down);font-size:.9rem;
overflow-wrap:anywhere}
.zoo .warning::before{content:'\\26a0\\fe0e\\00a0'}
.zoo .words,.zoo .text{white-space:pre-wrap}
.zoo .words{font-size:.9rem;line-height:1.5;overflow-wrap:anywhere}
.zoo .words .faded,.zoo .text .faded{opacity:.34}
.zoo .input.code{flex:1 1 420px;min-width:0}
.zoo .code pre{margin:0;padding:10px 12px;border:1px solid var(--line);border-radius:8px;background:none;color:inherit;
font:.85rem/1.7 ui-monospace,Consolas,Menlo,monospace;white-space:pre-wrap;overflow-wrap:anywhere;max-height:26rem;
overflow:auto}
.zoo .code span:nth-child(even){background:color-mix(in srgb,var(--line) 70%,transparent);border-radius:3px}
.zoo .code mark{background:color-mix(in srgb,var(--up) 22%,transparent);color:inherit;border-bottom:2px solid var(--up)}
.zoo .code i{color:var(--soft);font-style:normal}
.zoo .code figcaption{text-align:left}
.zoo .input.series{flex:1 1 420px}
.zoo .series svg{display:block;width:100%}
.zoo .series g,.zoo .series use{fill:none;stroke:var(--up);stroke-width:1.6px}
.zoo .series text{fill:var(--soft);font-size:13px}
.zoo .series .range{font-size:10px;text-anchor:end}
.zoo .series .tick{text-anchor:middle}
.zoo .series .fires{fill:#e3a800}
.zoo .series .under{stroke:var(--soft);stroke-width:1.2px}
.zoo .series .motif{stroke:#a63fc0;stroke-width:2.6px}
.zoo .series .decoded{stroke-dasharray:4 3}
.zoo .cards:has(.series){grid-template-columns:repeat(auto-fill,minmax(min(420px,100%),1fr))}
.zoo .series line{stroke:var(--line);vector-effect:non-scaling-stroke}
.zoo .audio .up{fill:var(--up)}
.zoo .audio .down{fill:var(--down)}
.zoo .audio .rank-mark{font-size:9px;text-anchor:middle;fill:var(--ink)}
.zoo .input.graph{flex:1 1 420px}
.zoo .graph svg{display:block;width:100%}
.zoo .graph line{stroke:var(--ink)}
.zoo .graph .ground{fill:var(--paper);stroke:none}
.zoo .graph .asked{fill:none;stroke:var(--ink);stroke-width:2.4px}
.zoo .graph g{fill:var(--soft);stroke:var(--soft);stroke-width:1.5px}
.zoo .graph .up{fill:var(--up);stroke:var(--up)}
.zoo .graph .down{fill:var(--down);stroke:var(--down)}
.zoo .graph text{fill:var(--ink);stroke:var(--paper);stroke-width:2.4px;paint-order:stroke;font-size:9px;
text-anchor:middle}
.zoo .statement{margin:-.2em 0 .9em;padding:6px 12px;border-left:3px solid var(--up);overflow-wrap:anywhere}
.zoo .sentence{margin:-.2em 0 .9em;overflow-wrap:anywhere}
.zoo .subgraphs{display:flex;flex-wrap:wrap;gap:10px;justify-content:center;align-items:flex-end}
.zoo .subgraphs figure{flex:1 1 130px;max-width:220px}
.zoo .subgraphs svg{display:block;width:100%}
.zoo .subgraphs line{stroke:var(--soft);stroke-width:2px}
.zoo .subgraphs circle{fill:var(--paper);stroke:var(--soft);stroke-width:1.6px}
.zoo .subgraphs .centre{stroke:var(--up);stroke-width:3.2px}
.zoo .subgraphs text{fill:var(--ink);font-size:8px;text-anchor:middle;dominant-baseline:central}
.zoo .matches{background:none}
.zoo .matches line{stroke-width:1.2}
.zoo .matches .under{stroke:#fff;stroke-width:2.4;opacity:.7}
.zoo .path{display:flex;flex-wrap:wrap;gap:10px 26px;list-style:none;margin:8px 0 0;padding:0}
.zoo .path li{width:92px;position:relative;text-align:center}
.zoo .path li:not(:last-child)::after{content:'\\2192';position:absolute;left:100%;top:34px;width:26px}
.zoo .path li:not(:has(svg))::after{top:.6em}
.zoo .path .absent svg{opacity:.4}
.zoo .path .present b{color:var(--up)}
.zoo .path .absent b{color:var(--down)}
.zoo .toggle{display:inline-block;font-size:.85rem;padding:4px 0;cursor:pointer}
.zoo .toggle input{accent-color:var(--up);margin:0 4px 0 0;vertical-align:-1px}
.zoo .relative{border:0;margin:10px 0 6px;padding:0;display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.9rem}
.zoo .relative legend{padding:0;font-size:.8rem;color:var(--soft)}
.zoo .relative label{display:flex;gap:6px;align-items:baseline;cursor:pointer;min-height:24px}
.zoo .relative input{accent-color:var(--up);margin:0}
.zoo .shared{position:absolute;width:0;height:0}
@supports selector(:has(*)){.zoo .view[data-reference]{display:none}}
.zoo article:has([value=zero]:checked) .view[data-reference=zero],
.zoo article:has([value=mean]:checked) .view[data-reference=mean],
.zoo article:has([value=runner-up]:checked) .view[data-reference=runner-up]{display:block}
.zoo .title,.zoo .kind,.zoo .note,.zoo figcaption,.zoo caption,.zoo small{color:var(--soft)}
.zoo .title,.zoo .kind{overflow-wrap:anywhere}
.zoo .kind,.zoo .note,.zoo caption{font-size:.8rem}
.zoo .origin bdi{word-break:break-all}
.zoo .note .up{color:var(--up)}
.zoo .note .down{color:var(--down)}
.zoo h2{font-size:1.9rem;line-height:1.15;margin:.1em 0 .4em;overflow-wrap:anywhere}
.zoo .share{color:var(--soft);font-weight:400;font-size:.55em;font-variant-numeric:tabular-nums;white-space:nowrap}
.zoo header .note{margin:-.4em 0 .8em;font-size:.9rem}
.zoo table{border-collapse:collapse;width:100%;max-width:480px;font-variant-numeric:tabular-nums;font-size:.9rem;
background:none;color:inherit}
.zoo caption{text-align:left;padding-bottom:4px}
.zoo tr{background:none}
.zoo th{font-weight:400;text-align:left;padding:2px 10px 2px 0;overflow-wrap:break-word}
.zoo td{text-align:right;padding:2px 0 2px 10px;white-space:nowrap}
.zoo .input td{white-space:normal;overflow-wrap:anywhere}
.zoo .chosen th,.zoo .chosen td{font-weight:600}
.zoo .meter{width:34%}
.zoo .meter span{display:block;height:9px;border-radius:5px;background:var(--up);min-width:2px}
.zoo ol{list-style:none;margin:10px 0 0;padding:0}
.zoo .cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(min(272px,100%),1fr))}
.zoo ol>li{margin:0;min-width:0;break-inside:avoid}
.zoo .cards>li{border:1px solid var(--line);border-radius:12px;padding:14px}
.zoo .cards .others{border-style:dashed;align-self:start}
.zoo .others .formula{font-size:.95rem}
.zoo .rank{display:inline-block;min-width:1.6em;text-align:center;border-radius:6px;background:var(--ground);
font-variant-numeric:tabular-nums}
.zoo .pair{display:grid;grid-template-columns:1fr 1fr;gap:10px;margin:10px 0 6px}
.zoo .wide{grid-column:1/-1}
.zoo figcaption{font-size:.8rem;text-align:center;padding-top:2px}
.zoo .bar{position:relative;height:12px;background:var(--ground);border-radius:6px;margin:8px 0 6px;overflow:hidden}
.zoo .signed::after{content:'';position:absolute;left:50%;top:0;bottom:0;border-left:1px solid var(--soft)}
.zoo .bar span{position:absolute;top:0;bottom:0}
.zoo .bar .up{left:50%;background:var(--up)}
.zoo .bar .down{right:50%;background:var(--down)}
.zoo .bar .level{left:0;background:var(--soft)}
.zoo .formula{font-size:.8rem;font-variant-numeric:tabular-nums}
.zoo .formula span{white-space:nowrap}
.zoo .rows>li{border-top:1px solid var(--line);padding:8px 0;display:grid;gap:2px 24px;
grid-template-columns:minmax(0,1fr) minmax(0,1fr)}
.zoo .rows .bar{margin:6px 0 4px}
@media (max-width:560px){.zoo article{padding:16px}.zoo .input{flex-basis:100%}.zoo .meter{width:18%}
.zoo .rows>li{grid-template-columns:minmax(0,1fr)}}
.zoo .sum{display:flex;flex-wrap:wrap;gap:10px 16px;margin:20px 0 6px;padding-top:14px;border-top:1px solid var(--line);
font-variant-numeric:tabular-nums}
.zoo .sum small{display:block;font-size:.75rem}
.zoo .total{font-weight:700}
.zoo .try{display:none;gap:4px 14px;flex-wrap:wrap;align-items:center;font-size:.85rem;margin-top:6px}
.zoo [data-live] .try{display:flex}
.zoo .try label{display:flex;align-items:center;gap:6px;cursor:pointer;min-height:24px}
.zoo .try input{accent-color:var(--up);margin:0}
.zoo .try input[type=range]{width:110px}
.zoo .try output{font-variant-numeric:tabular-nums;min-width:3.2em}
.zoo li:has(.count input:not(:checked)){opacity:.55}
.zoo .what-if{display:none;margin-top:20px;padding-top:14px;border-top:1px solid var(--line)}
.zoo [data-live] .what-if{display:block}
.zoo .what-if h3{margin-top:0}
.zoo .what-if .live{display:flex;flex-wrap:wrap;gap:20px 40px;align-items:flex-start;margin-top:8px}
.zoo .what-if .live>div{flex:1 1 300px;min-width:0}
.zoo .what-if select,.zoo .what-if button{font:inherit;color:inherit;background:var(--ground);
border:1px solid var(--line);border-radius:8px;padding:4px 8px;max-width:100%}
.zoo .what-if .signed span{border-radius:0}
.zoo .what-if td.side{width:34%}
.zoo .what-if td .bar{margin:0}
.zoo :focus-visible{outline:2px solid var(--up);outline-offset:2px}
.zoo .index{padding-left:20px}
.zoo .index li{margin:4px 0}
.zoo a{color:var(--up)}
"""
