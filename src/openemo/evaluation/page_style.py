"""Looks of the report's page: style sheet and the few lines of script that sort a table."""

from __future__ import annotations

from typing import Final

__all__ = ["SCRIPT", "STYLE"]

STYLE: Final = """
:root { --ink: #1c1d21; --paper: #fff; --soft: #6b7280; --line: #e3e5e9; --mark: #eef4ff;
  --real: #7a7f89; --subject: #0b62d6; --quiet: #d97706; --good: #15803d; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e8ea; --paper: #16181c; --soft: #9aa1ad;
  --line: #31353d; --mark: #1b2739; --real: #9aa1ad; --subject: #6ea8fe; --quiet: #f0a94a;
  --good: #4ade80; --bad: #f87171; } }
body { color: var(--ink); background: var(--paper); font: 15px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 26px; } h2 { font-size: 19px; margin-top: 40px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); text-align: left; font-weight: normal; }
tr:first-child > th { color: var(--soft); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.subject { background: var(--mark); font-weight: 600; }
small { display: block; color: var(--soft); font-weight: normal; } th small { display: inline; }
.as-expected { color: var(--good); } .reversed { color: var(--bad); } .within-noise { color: var(--soft); }
img, video { max-width: 100%; border-radius: 6px; }
figure { margin: 0; } figcaption { font-size: 13px; color: var(--soft); }
.boxes, .plots { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
svg { width: 100%; max-width: 800px; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg.bars { max-width: 520px; } svg .y { text-anchor: end; } svg .x { text-anchor: middle; }
polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
polyline.grid { stroke: var(--line); stroke-width: 1; } line.zero { stroke: var(--line); }
polyline.real { stroke: var(--real); stroke-dasharray: 4 3; }
polyline.model, polyline.videos { stroke: var(--subject); }
polyline.silence { stroke: var(--quiet); stroke-width: 1; }
line.bar { stroke: var(--soft); stroke-width: 3; } circle.dot { fill: var(--soft); }
line.bar.model, line.bar.videos { stroke: var(--subject); }
circle.dot.model, circle.dot.videos { fill: var(--subject); }
.key { display: inline-block; width: 18px; height: 3px; vertical-align: middle; margin: 0 5px 0 10px; }
.key.real { background: var(--real); } .key.model, .key.videos { background: var(--subject); }
.key.silence { background: var(--quiet); }
pre { background: var(--mark); padding: 10px 14px; border-radius: 6px; white-space: pre-wrap; }
code { font-size: 12px; overflow-wrap: anywhere; } summary { cursor: pointer; margin: 12px 0; }
.sortable tr:first-child > th { cursor: pointer; }
"""

SCRIPT: Final = """
document.querySelectorAll("table.sortable").forEach(table => {
  const [head, ...lines] = table.rows;
  [...head.cells].forEach((cell, column) => cell.addEventListener("click", () => {
    const down = cell.dataset.down = cell.dataset.down === "1" ? "" : "1";
    const value = line => { const text = line.cells[column].textContent;
      const number = parseFloat(text); return column && !isNaN(number) ? number : text; };
    lines.sort((a, b) => (value(a) > value(b) ? 1 : value(a) < value(b) ? -1 : 0) * (down ? -1 : 1));
    lines.forEach(line => line.parentNode.append(line));
  }));
});
"""
