-- The page's style: light and dark by what the reader's system prefers. The canvases take their colours from here.
return [==[
:root {
  --paper: #fcfcfa; --side: #f5f5f1; --ink: #1c2127; --soft: #58616b; --faint: #8b939c; --line: #dcddd7;
  --rule: #ebebe6;
  --hover: #ecece6; --pick: #dfe9f6; --accent: #1d5fa8; --bad: #bd2a1b; --bad-paper: #fbe9e6; --good: #1f7a64;
  --good-paper: #e3f2ed; --gap: #3b4149; --match: #fff0bf; --fault: #b8860b; --cut: #6b5a9e;
  --t0: #2f6cb0; --t1: #bf7a0a; --t2: #23887a; --t3: #8557ad; --t4: #4c93c9; --t5: #94682a; --t6: #6a8420;
  --t7: #a84f79;
  --m-append: #33404e; --m-beat: #a3abb4; --m-result: #7f8d9b; --m-vote: #7c46a8; --m-granted: #a678cc;
  --m-no: #c8570f;
  --m-forward: #0d8577; --m-other: #85633a;
  --o-yes: #23887a; --o-no: #d08a12; --o-unknown: #8b939c;
  --sans: system-ui, -apple-system, "Segoe UI", "Helvetica Neue", "Noto Sans", sans-serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181c; --side: #1b1f24; --ink: #e6e8ea; --soft: #a9b1ba; --faint: #7b848e; --line: #32383f;
    --rule: #252a30;
    --hover: #262c33; --pick: #24405f; --accent: #7db4f0; --bad: #ff7d6b; --bad-paper: #40211d; --good: #6fd0b4;
    --good-paper: #183a31; --gap: #04060a; --match: #574612; --fault: #e0b040; --cut: #a899e0;
    --t0: #64a2e6; --t1: #e3a23a; --t2: #4cbda8; --t3: #b591de; --t4: #8cc6ee; --t5: #cda064; --t6: #a5c352;
    --t7: #dd89ae;
    --m-append: #d3dae2; --m-beat: #69737e; --m-result: #8d9aa8; --m-vote: #bd8fe6; --m-granted: #9a78bd;
    --m-no: #ff9a4d;
    --m-forward: #4cc9b5; --m-other: #c9a878;
    --o-yes: #4cbda8; --o-no: #e3a23a; --o-unknown: #7b848e;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html, body { height: 100%; margin: 0; }
body {
  display: flex; flex-direction: column; background: var(--paper); color: var(--ink);
  font: 13px/1.45 var(--sans); font-variant-numeric: tabular-nums; -webkit-font-smoothing: antialiased;
}
header { padding: 10px 16px 9px; border-bottom: 1px solid var(--line); }
.top { display: flex; align-items: center; gap: 12px; min-width: 0; }
h1 { margin: 0; font-size: 15px; font-weight: 650; letter-spacing: -.005em; white-space: nowrap; }
h2 { margin: 0 0 4px; font-size: 12px; font-weight: 600; }
.verdict { flex: 1; min-width: 0; margin: 0; }
.pill {
  display: inline-block; padding: 0 8px; border-radius: 9px; font: 600 12px/19px var(--mono); margin-right: 5px;
}
.pill.good { background: var(--good-paper); color: var(--good); }
.pill.bad { background: var(--bad-paper); color: var(--bad); }
.under { display: flex; align-items: center; gap: 8px 28px; margin-top: 6px; flex-wrap: wrap; }
dl { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 0; }
dl div { display: flex; gap: 6px; }
dt { color: var(--faint); }
dd { margin: 0; }
.replay { flex: 1 1 300px; display: flex; gap: 6px; align-items: center; min-width: 0; }
.replay code {
  flex: 0 1 auto; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--soft);
  font: 11.5px/20px var(--mono); background: var(--side); border-radius: 4px; padding: 0 7px;
}
#note { margin: 6px 0 0; color: var(--fault); }
button, .button {
  font: inherit; font-size: 12px; line-height: 20px; color: var(--ink); background: var(--paper); cursor: pointer;
  border: 1px solid var(--line); border-radius: 5px; padding: 0 8px; text-decoration: none; white-space: nowrap;
}
button:hover, .button:hover { background: var(--hover); }
.button.bad { color: var(--bad); border-color: currentColor; font-weight: 550; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
canvas:focus-visible, #list:focus-visible { outline-offset: -2px; }
main { flex: 1; min-height: 0; display: grid; grid-template-columns: minmax(0, 1fr) 404px; }
#stage { position: relative; display: flex; flex-direction: column; min-width: 0; min-height: 0; }
#map { display: block; width: 100%; height: 58px; flex: none; border-bottom: 1px solid var(--line);
cursor: crosshair; }
.tools { display: flex; align-items: center; gap: 5px; padding: 6px 12px; flex: none; }
.gap { flex: 1; }
#range { color: var(--soft); margin-left: 8px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#scene { flex: 1; min-height: 0; position: relative; overflow: hidden; }
#lanes { display: block; width: 100%; height: 100%; cursor: grab; touch-action: none; }
#lanes.dragging { cursor: grabbing; }
#lanes.pointing { cursor: pointer; }
#lanes.scrubbing { cursor: col-resize; }
#legend {
  position: absolute; right: 12px; top: 96px; width: min(560px, calc(100% - 24px)); padding: 12px 14px; z-index: 2;
  max-height: calc(100% - 110px); overflow: auto;
  background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  box-shadow: 0 6px 24px rgb(0 0 0 / .16);
}
#legend .columns { display: grid; grid-template-columns: 1fr 1fr; gap: 4px 22px; }
#legend h2 { margin: 6px 0 2px; color: var(--soft); }
#legend .row { display: flex; align-items: center; gap: 8px; min-height: 20px; line-height: 1.3; }
#legend canvas { width: 46px; height: 16px; flex: none; }
kbd {
  font: 11px/16px var(--mono); border: 1px solid var(--line); border-bottom-width: 2px; border-radius: 4px;
  padding: 0 4px;
  background: var(--side);
}
aside {
  display: flex; flex-direction: column; min-height: 0; background: var(--side); border-left: 1px solid var(--line);
}
aside section { padding: 9px 12px; border-bottom: 1px solid var(--line); flex: none; }
#plan ol { margin: 0; padding: 0; max-height: 22vh; overflow: auto; list-style: none; counter-reset: plan; }
#plan li { counter-increment: plan; }
#plan li > * {
  display: flex; gap: 8px; width: 100%; padding: 2px 4px; text-align: left; border: 0; background: none;
  border-radius: 4px;
  font: inherit; white-space: normal; line-height: 1.4;
}
#plan li > *::before { content: counter(plan); flex: 0 0 18px; text-align: right; color: var(--faint); }
#plan button:hover { background: var(--hover); }
#plan .at { margin-left: auto; color: var(--faint); white-space: nowrap; }
#when { display: flex; gap: 10px; white-space: nowrap; font-weight: 650; font-size: 13px; margin: 0; }
#when span { font-weight: 400; color: var(--soft); }
#what { margin: 2px 0 7px; min-height: 2.7em; max-height: 5.4em; overflow: auto; color: var(--soft);
line-height: 1.35;
  overflow-wrap: anywhere; }
#states { width: 100%; border-collapse: collapse; font-size: 11.5px; line-height: 18px; }
#states th { color: var(--faint); font-weight: 400; text-align: right; padding: 0 0 1px 4px; }
#states td { text-align: right; padding: 0 0 0 4px; border-top: 1px solid var(--rule); white-space: nowrap; }
#states th:nth-child(-n+2), #states td:nth-child(-n+2) { text-align: left; padding: 0 7px 0 0; }
#states td.new { color: var(--accent); font-weight: 650; }
#states td.off { color: var(--faint); }
#states i { display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 5px; }
#hearing { color: var(--cut); margin-top: 4px; }
#hearing:empty { margin: 0; }
#events { flex: 1; min-height: 0; display: flex; flex-direction: column; border-bottom: 0; padding-bottom: 0; }
.search { display: flex; gap: 5px; align-items: center; }
.search input {
  flex: 1; min-width: 0; font: inherit; line-height: 20px; padding: 1px 8px; border: 1px solid var(--line);
  border-radius: 5px; background: var(--paper); color: var(--ink);
}
#found { color: var(--soft); min-width: 54px; text-align: right; }
.chips { display: flex; flex-wrap: wrap; gap: 3px; margin-top: 5px; }
.chips button { font-size: 11px; line-height: 16px; padding: 0 6px; border-radius: 8px; }
.chips button[aria-pressed="false"] { color: var(--faint); background: none; border-style: dashed; }
#list { flex: 1; min-height: 0; overflow-y: scroll; overflow-x: hidden; margin: 7px -12px 0; position: relative;
  border-top: 1px solid var(--line); background: var(--paper); }
#long { position: relative; overflow: hidden; }
.event {
  position: absolute; left: 0; right: 0; height: 20px; display: flex; gap: 7px; padding: 0 12px; line-height: 20px;
  font-size: 12px; white-space: nowrap; cursor: pointer;
}
.event:hover { background: var(--hover); }
.event.hit { background: var(--match); }
.event.at { background: var(--pick); }
.event .t { flex: 0 0 70px; color: var(--faint); text-align: right; }
.event .n { flex: 0 0 18px; font-weight: 600; }
.event .x { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; }
.event.violation .x { color: var(--bad); font-weight: 650; }
.event.fault .x { color: var(--fault); }
.event.state .x { color: var(--soft); }
#tip {
  position: fixed; z-index: 3; max-width: 400px; padding: 7px 10px; pointer-events: none; background: var(--paper);
  border: 1px solid var(--line); border-radius: 6px; box-shadow: 0 4px 18px rgb(0 0 0 / .18); font-size: 12px;
  line-height: 1.4;
}
#tip b { display: block; font-weight: 650; overflow-wrap: anywhere; }
#tip p { margin: 1px 0 0; overflow-wrap: anywhere; }
#tip p.soft { color: var(--soft); }
#tip .pairs { display: grid; grid-template-columns: auto auto auto auto; gap: 0 10px; margin-top: 3px; }
#tip .pairs span:nth-child(odd) { color: var(--faint); }
#tip .pairs span:nth-child(even) { text-align: right; }
@media (max-width: 1400px) { main { grid-template-columns: minmax(0, 1fr) 372px; } }
@media (max-width: 940px) {
  html, body { height: auto; min-height: 100%; }
  .top { flex-wrap: wrap; }
  .verdict { flex-basis: 60%; }
  main { display: flex; flex-direction: column; }
  #stage { height: min(78vh, 620px); min-height: 400px; }
  aside { border-left: 0; border-top: 1px solid var(--line); }
  #list { flex: none; height: 340px; }
}
]==]
