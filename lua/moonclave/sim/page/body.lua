-- The page's frame. page.lua fills {{NAMES}} in; everything but the heading is made by the script.
return [==[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{{NAME}}</title>
<style>
{{STYLE}}
</style>
</head>
<body>
<header>
 <div class="top">
  <h1>{{TITLE}}</h1>
  <p class="verdict">{{VERDICT}}</p>
  {{FAILING}}
 </div>
 <div class="under"><dl>{{FACTS}}</dl>{{REPLAY}}</div>
 <p id="note" hidden></p>
</header>
<main>
 <section id="stage" aria-label="the run over time">
  <canvas id="map" aria-hidden="true"></canvas>
  <div class="tools">
   <button id="fit" type="button" title="the whole run (0)">whole run</button>
   <button id="out" type="button" title="zoom out (-)" aria-label="zoom out">&minus;</button>
   <button id="in" type="button" title="zoom in (+)" aria-label="zoom in">+</button>
   <span id="range"></span>
   <span class="gap"></span>
   <button id="help" type="button" aria-expanded="false" title="what is what (?)">legend and keys</button>
  </div>
  <div id="scene"><canvas id="lanes" tabindex="0" role="img"
   aria-label="one lane per node; the list beside it says the same in words"></canvas></div>
  <div id="legend" hidden></div>
 </section>
 <aside>
  <section id="plan" hidden><h2>What is left of the run</h2><ol id="schedule"></ol></section>
  <section id="now">
   <h2 id="when"></h2>
   <p id="what"></p>
   <table id="states"></table>
   <div id="hearing"></div>
  </section>
  <section id="events">
   <div class="search">
    <input id="search" type="search" placeholder="search (/)" aria-label="search the events" autocomplete="off"
     spellcheck="false">
    <span id="found"></span>
    <button id="before" type="button" aria-label="previous match" title="previous (shift Enter)">&uarr;</button>
    <button id="after" type="button" aria-label="next match" title="next (Enter)">&darr;</button>
   </div>
   <div id="kinds" class="chips" role="group" aria-label="kinds of events"></div>
   <div id="nodes" class="chips" role="group" aria-label="nodes"></div>
   <div id="list" tabindex="0" role="listbox" aria-label="events"><div id="long"></div></div>
  </section>
 </aside>
</main>
<div id="tip" hidden></div>
<noscript><p>The lanes need JavaScript; the heading says what came of the run.</p></noscript>
<script type="application/json" id="about">{{ABOUT}}</script>
<script type="application/json" id="record">{{RECORD}}</script>
<script>
"use strict";
(() => {
{{SCRIPT}}
})();
</script>
</body>
</html>
]==]
