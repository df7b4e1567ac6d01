"""How pages look: system fonts, light and dark, blue for and orange against (told apart by the colour-blind)."""

STYLE = """
.zoo{--ink:#1b1f24;--soft:#667080;--line:#dfe3e8;--paper:#fff;--ground:#f5f6f8;--up:#1f6fb4;--down:#d1700a;
font:16px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;color:var(--ink);background:var(--ground);margin:0}
@media (prefers-color-scheme:dark){.zoo{--ink:#e8ebef;--soft:#9aa5b1;--line:#343b44;--paper:#1d2228;--ground:#14181d;
--up:#6db3f2;--down:#f5a54a}}
.zoo *{box-sizing:border-box}
.zoo main{max-width:1080px;margin:0 auto;padding:24px 16px 48px}
.zoo h1{font-size:1.4rem;margin:0 0 16px}
.zoo article{background:var(--paper);border:1px solid var(--line);border-radius:14px;padding:24px;margin:0 0 24px}
.zoo header{display:flex;gap:28px;flex-wrap:wrap;align-items:flex-start}
.zoo header>div{flex:1 1 260px;min-width:0}
.zoo figure{margin:0}
.zoo .input{flex:0 1 260px}
.zoo .picture{display:block;width:100%;border-radius:8px;overflow:hidden;background:#888}
.zoo .halo,.zoo .box{fill:none;vector-effect:non-scaling-stroke}
.zoo .halo{stroke:#000;stroke-width:4.5px;opacity:.75}
.zoo .box{stroke:#ffd400;stroke-width:2.2px}
.zoo .mark{fill:#ffd400;stroke:#000;paint-order:stroke;font-weight:700}
.zoo .title{margin:0;color:var(--soft);overflow-wrap:anywhere}
.zoo h2{font-size:1.9rem;line-height:1.15;margin:.1em 0 .5em;overflow-wrap:anywhere}
.zoo .share{color:var(--soft);font-weight:400;font-size:.65em}
.zoo h3{font-size:1rem;margin:24px 0 10px}
.zoo table{border-collapse:collapse;width:100%;max-width:460px;font-variant-numeric:tabular-nums;font-size:.9rem}
.zoo caption{text-align:left;color:var(--soft);font-size:.8rem;padding-bottom:4px}
.zoo th{font-weight:400;text-align:left;padding:2px 10px 2px 0}
.zoo td{text-align:right;padding:2px 0 2px 10px;white-space:nowrap}
.zoo .chosen th,.zoo .chosen td{font-weight:600}
.zoo .meter{width:38%}
.zoo .meter span{display:block;height:9px;border-radius:5px;background:var(--up);min-width:2px}
.zoo .cards{list-style:none;margin:0;padding:0;display:grid;gap:14px;
grid-template-columns:repeat(auto-fill,minmax(236px,1fr))}
.zoo .cards li{border:1px solid var(--line);border-radius:12px;padding:14px;min-width:0}
.zoo .cards p{margin:0}
.zoo .name{font-weight:600;overflow-wrap:anywhere}
.zoo .rank{display:inline-block;min-width:1.6em;text-align:center;
border-radius:6px;background:var(--ground);font-variant-numeric:tabular-nums}
.zoo .kind,.zoo .origin{color:var(--soft);font-size:.8rem;overflow-wrap:anywhere}
.zoo .pair{display:grid;grid-template-columns:1fr auto 1fr;gap:8px;align-items:center;margin:10px 0}
.zoo .like,.zoo figcaption{color:var(--soft);font-size:.75rem;text-align:center}
.zoo .like{width:3.2em;line-height:1.2}
.zoo .bar{position:relative;height:12px;background:var(--ground);border-radius:6px;margin:8px 0 6px;overflow:hidden}
.zoo .bar::after{content:'';position:absolute;left:50%;top:0;bottom:0;border-left:1px solid var(--soft)}
.zoo .bar span{position:absolute;top:0;bottom:0}
.zoo .bar .up{left:50%;background:var(--up)}
.zoo .bar .down{right:50%;background:var(--down)}
.zoo .formula{font-size:.85rem;font-variant-numeric:tabular-nums}
.zoo .sum{display:flex;flex-wrap:wrap;gap:10px 16px;margin:20px 0 0;padding-top:14px;border-top:1px solid var(--line);
font-variant-numeric:tabular-nums}
.zoo .sum small{display:block;color:var(--soft);font-size:.72rem}
.zoo .total{font-weight:700}
.zoo .index li{margin:4px 0}
.zoo a{color:var(--up)}
"""
