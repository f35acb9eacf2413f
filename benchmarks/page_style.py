"""How the page looks."""

STYLE = """
:root{--paper:#fbfbf9;--card:#fff;--ink:#1d2421;--soft:#5d6863;--line:#dfe4e0;--ours:#0b7a55;
--theirs:#7d8790;--third:#c58a1a;--bad:#b3372f;--good:#0b7a55}
@media(prefers-color-scheme:dark){:root{--paper:#12161a;--card:#1a2026;--ink:#e6ebe8;
--soft:#9aa6a0;--line:#303941;--ours:#4fd1a0;--theirs:#98a3ad;--third:#e3b04b;--bad:#ff8f84;
--good:#4fd1a0}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:64rem;margin:0 auto;padding:2rem 1rem 4rem}
h1{font-size:clamp(1.6rem,5vw,2.4rem);line-height:1.15;margin:0}
h2{font-size:1.2rem;margin:0 0 .9rem}
.lead{color:var(--soft);margin:.4rem 0 1.5rem;font-size:1.05rem}
section{margin:0 0 1.25rem;background:var(--card);border:1px solid var(--line);
border-radius:.75rem;padding:1.25rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.75rem;
background:none;border:0;padding:0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:.75rem;padding:1rem;
display:flex;flex-direction:column;gap:.15rem;align-items:flex-start}
.tile b{font-size:2.2rem;line-height:1.1;color:var(--ours);font-variant-numeric:tabular-nums}
.tile span{font-weight:600;line-height:1.3}
.tile small{color:var(--soft);margin-bottom:.4rem}
.tile em{margin-top:auto}
.tile:last-child{grid-column:span 2}
em{font-style:normal;font-size:.78rem;border-radius:1rem;padding:.08rem .6rem;
border:1px solid currentColor;white-space:nowrap;display:inline-block}
em.met{color:var(--good)}em.missed{color:var(--bad);font-weight:700}
.verdict{border-left:.4rem solid var(--good)}.verdict.bad{border-left-color:var(--bad)}
.verdict p{margin:0;font-weight:600}.verdict ul{margin:.3rem 0 0;padding-left:1.2rem}
.plot{margin:0 0 1.4rem}
.said{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1rem;margin-top:.6rem}
.plot .name{font-size:.92rem;font-weight:600;line-height:1.3}
.plot .says{font-size:.85rem;color:var(--soft);line-height:1.3;font-variant-numeric:tabular-nums}
.says b{color:var(--ours)}
.legend,.caption{font-size:.85rem;color:var(--soft);margin:0 0 .4rem}
.legend span{margin-right:1.1rem;white-space:nowrap}
.legend i{display:inline-block;width:.7rem;height:.7rem;border-radius:50%;margin-right:.35rem}
svg{display:block;width:100%;overflow:visible}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}
.ours{fill:var(--ours);stroke:var(--ours);background:var(--ours)}
.theirs{fill:var(--theirs);stroke:var(--theirs);background:var(--theirs)}
.third{fill:var(--third);stroke:var(--third);background:var(--third)}
.join{stroke:var(--line);stroke-width:5}
.range{stroke-width:3;opacity:.45}
path.ours,path.third,path.theirs{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{padding:.4rem .5rem;border-top:1px solid var(--line);text-align:right;vertical-align:top;
font-variant-numeric:tabular-nums}
thead th{border-top:0;color:var(--soft);font-weight:600}
tbody th{text-align:left;font-weight:400}
td small{display:block;color:var(--soft);font-weight:400;font-size:.8rem}
td{white-space:nowrap}
td[data-of="nodepool_tx"]{font-weight:600}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:.5rem 1.25rem;
margin:1rem 0}
dt{color:var(--soft);font-size:.8rem}dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--paper);border:1px solid var(--line);border-radius:.5rem;padding:.75rem;
white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem;margin:.5rem 0 0}
a{color:var(--ours)}
@media(max-width:40rem){
main{padding:1.25rem .75rem 3rem}section{padding:1rem}
.tiles{padding:0;grid-template-columns:1fr 1fr;gap:.5rem}
.tile{padding:.75rem}.tile b{font-size:1.7rem}.tile em{white-space:normal;border-radius:.6rem}
thead{display:none}
table,tbody{display:block}
tr{display:grid;grid-template-columns:auto 1fr;gap:0 .75rem;border-top:1px solid var(--line);
padding:.6rem 0}
tbody th{grid-column:1/-1;font-weight:600;padding:0 0 .2rem;border:0}
td{display:contents;text-align:left}
td[data-of]::before{content:attr(data-of);color:var(--soft)}
td:empty{display:none}td span{white-space:normal}td em{grid-column:1/-1;justify-self:start}
td small{display:inline;margin-left:.6rem}
}
"""
