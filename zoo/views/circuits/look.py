"""The style of a circuit's page."""

LOOK = """
.zoo article>h3:first-child{margin-top:0}
.zoo .scroll{overflow-x:auto;max-width:100%}
.zoo .said{margin:8px 0 14px;padding-left:20px}
.zoo .verdicts{list-style:none;margin:8px 0 0;padding:0}
.zoo .verdicts>li{display:flex;gap:14px;padding:8px 0 8px 12px;border-left:4px solid var(--up);margin:6px 0}
.zoo .verdicts>.warn{border-left-color:var(--down)}
.zoo .verdict{flex:0 0 4.6em;color:var(--up);white-space:nowrap}
.zoo .warn>.verdict{color:var(--down)}
.zoo .verdicts p{font-size:.9rem}
.zoo .live{display:none}
.zoo[data-live] .live{display:block}
.zoo .ask,.zoo .sliders{display:flex;flex-wrap:wrap;gap:10px 24px;align-items:center;margin:10px 0}
.zoo .ask label{display:flex;gap:8px;align-items:center;max-width:100%;min-width:0}
.zoo .sliders label{display:flex;gap:8px;align-items:center;flex-wrap:wrap;min-height:24px}
.zoo .sliders input{accent-color:var(--up);width:180px;margin:0}
.zoo .sliders output{font-variant-numeric:tabular-nums;min-width:7em}
.zoo select,.zoo textarea,.zoo button{font:inherit;color:inherit;background:var(--ground);border:1px solid var(--line);
border-radius:8px;padding:4px 8px;max-width:100%;min-width:0}
.zoo .ask select{flex:1 1 auto}
.zoo .typed{display:block;font-size:.9rem}
.zoo textarea{display:block;width:100%;margin:4px 0;resize:vertical;
font:.9rem/1.5 ui-monospace,Consolas,Menlo,monospace}
.zoo .problem{color:var(--down);min-height:1.2em;font-size:.9rem}
.zoo .live .code pre{max-height:14rem}
.zoo .answers{margin-top:10px}
.zoo .answers .next{white-space:normal;min-width:12em}
.zoo .answer{font-weight:600}
.zoo code{font:.92em ui-monospace,Consolas,Menlo,monospace;background:var(--ground);border-radius:4px;padding:0 3px}
.zoo .chip{display:inline-block;margin:1px 6px 1px 0;white-space:nowrap}
.zoo .chip.up small{color:var(--up)}
.zoo .chip.down small{color:var(--down)}
.zoo .left,.zoo .loss{margin:2px 0}
.zoo .loss{font-weight:600;min-height:1.5em}
.zoo .graph{margin:10px 0}
.zoo .graph [data-node]{cursor:pointer;stroke:none;fill:var(--ink)}
.zoo .graph [data-node] text{stroke:none}
.zoo .graph [data-node]:focus{outline:none}
.zoo .graph [data-node]:focus-visible circle{stroke:var(--up);outline:2px solid var(--up);outline-offset:3px}
.zoo .graph .chosen circle{fill:color-mix(in srgb,var(--up) 30%,var(--paper));stroke:var(--up);
stroke-width:3px!important}
.zoo .graph .off{opacity:.22}
.zoo .graph .edge.off{stroke-dasharray:3 4;opacity:.25}
.zoo .graph .edge.near{opacity:1}
.zoo .graph .stream.near{stroke:var(--ink);opacity:1}
.zoo #node{border-top:1px solid var(--line);padding-top:14px}
.zoo #node:focus{outline:none}
.zoo #node h3{margin-top:0}
.zoo #node h4{margin-top:12px}
.zoo #node h5{margin:6px 0 0;font-size:.85rem;color:var(--soft)}
.zoo #node header{justify-content:space-between}
.zoo #node header>label{flex:0 0 auto}
.zoo .sides{display:flex;flex-wrap:wrap;gap:8px 40px}
.zoo .sides>section{flex:1 1 320px;min-width:0}
.zoo .sides td.up{color:var(--up)}
.zoo .sides td.down{color:var(--down)}
.zoo .sides tr.off{opacity:.4}
.zoo .listed{font-size:.9rem;margin:6px 0}
.zoo .node-link{padding:0 6px;font-size:.9rem;margin:1px 4px 1px 0}
.zoo .context{display:grid;grid-template-columns:7.5em minmax(0,1fr);gap:10px;padding:3px 0;align-items:baseline;
border-top:1px solid var(--line)}
.zoo .group .context{grid-template-columns:3.6em minmax(0,1fr)}
.zoo .context small{font-variant-numeric:tabular-nums;text-align:right}
.zoo .context .tokens{overflow-wrap:anywhere;min-width:0}
.zoo .tokens mark{color:inherit;background:none;border-bottom:2px solid var(--ink);border-radius:0}
.zoo .arcs{position:relative;width:max-content;max-width:none;padding-top:46px}
.zoo .arcs svg{position:absolute;left:0;top:0;pointer-events:none}
.zoo .arcs path{fill:none;stroke:var(--up)}
.zoo .gathers{margin-top:12px}
.zoo .keys{display:flex;gap:2px;position:relative}
.zoo .key{display:flex;flex-direction:column;align-items:center;padding:2px 4px;border-radius:6px;min-width:26px;
min-height:44px}
.zoo .key code{background:none}
.zoo .key[aria-pressed=true]{border:2px solid var(--ink)}
.zoo .grid{overflow-x:auto}
.zoo .grid rect{fill:var(--up)}
.zoo .grid .row{fill:none;stroke:var(--ink)}
.zoo .products td{padding-left:8px}
.zoo details{margin:4px 0}
.zoo summary{cursor:pointer;min-height:24px}
.zoo [hidden]{display:none!important}
@media (max-width:560px){.zoo .context{grid-template-columns:minmax(0,1fr)}.zoo .context small{text-align:left}
.zoo .group .context{grid-template-columns:3em minmax(0,1fr)}.zoo .verdicts>li{display:block}}
"""
