import { palette } from "./palette";

/** Light and dark by the reader's setting; wide things scroll inside themselves, so that the page never does. */
export const STYLE = `
:root {
  --paper: #fdfdfc; --panel: #f4f3f0; --ink: #1d1d1f; --muted: #66656b; --line: #dddbd6; --accent: #0b62c4;
  --good: #15803d; --bad: #b42318; --original: #5f6368; ${palette("light")}
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #151618; --panel: #1e2023; --ink: #ececec; --muted: #a0a2a8; --line: #36383d; --accent: #6fb1ff;
    --good: #5fd38a; --bad: #ff8a80; --original: #b3b7bd; ${palette("dark")}
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 0 clamp(1rem, 4vw, 2.5rem) 4rem; max-width: 76rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
header { padding: 2.5rem 0 0.5rem; border-bottom: 1px solid var(--line); }
h1 { margin: 0; font-size: clamp(1.5rem, 4.5vw, 2.1rem); line-height: 1.2; letter-spacing: -0.015em; }
header p { margin: 0.4rem 0 1rem; color: var(--muted); }
nav { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; padding-bottom: 0.6rem; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
section { margin-top: 2.8rem; }
h2 { margin: 0 0 0.7rem; font-size: 1.35rem; letter-spacing: -0.01em; }
p, li { max-width: 46rem; }
p { margin: 0.7rem 0; }
ul { margin: 0.7rem 0; padding-left: 1.2rem; }
li { margin: 0.3rem 0; }
.scroll { overflow-x: auto; margin: 1.2rem 0; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
table.data { width: 100%; font-size: 0.875rem; }
caption { padding: 0.7rem 0.9rem; text-align: left; font-weight: 600; caption-side: top; }
.data th, .data td { padding: 0.42rem 0.75rem; white-space: nowrap; text-align: right; font-weight: 400; }
.data tr > :first-child, .data .words { text-align: left; }
.data tbody tr { border-top: 1px solid var(--line); }
.data tbody th { position: sticky; left: 0; background: var(--paper); font-weight: 500; }
.data thead { background: var(--panel); }
.data thead th { padding: 0; }
.data thead th:first-child { position: sticky; left: 0; background: var(--panel); }
.data button {
  width: 100%; padding: 0.5rem 0.75rem; border: 0; background: none; color: var(--muted); font: inherit;
  text-align: inherit; cursor: pointer;
}
.data button:hover, .data button:focus-visible { color: var(--ink); }
[aria-sort="ascending"] button::after { content: " ↑"; }
[aria-sort="descending"] button::after { content: " ↓"; }
.data small { display: block; color: var(--muted); font-size: 0.74rem; line-height: 1.3; }
i { display: inline-block; width: 0.65rem; height: 0.65rem; margin-right: 0.55rem; border-radius: 3px; }
tr.published, tr.published th { color: var(--muted); font-style: italic; font-weight: 400; }
tr.published i { opacity: 0.45; }
.badge {
  margin-left: 0.4rem; padding: 0.05rem 0.4rem; border: 1px solid var(--line); border-radius: 1rem;
  font-size: 0.72rem; font-style: normal;
}
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 28rem), 1fr)); gap: 1.2rem; margin: 1.2rem 0; }
figure { margin: 0; padding: 0.8rem; border: 1px solid var(--line); border-radius: 8px; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { margin-top: 0.5rem; color: var(--muted); font-size: 0.875rem; line-height: 1.45; }
.pictures { margin: 0 auto 0.6rem 0; font-size: 0.8rem; }
.pictures th { padding: 0.2rem 0.5rem; font-weight: 500; }
.pictures tbody th { position: sticky; left: 0; max-width: 13rem; background: var(--paper); text-align: left; font-weight: 400; }
.pictures .group th { max-width: none; padding: 0.7rem 0.9rem 0.25rem; color: var(--muted); font-weight: 600; }
.group span { position: sticky; left: 0.9rem; }
.pictures tbody th { padding-left: 0.9rem; }
.pictures td { padding: 0.15rem; }
.pictures img { display: block; width: 88px; height: 88px; border-radius: 4px; object-fit: contain; background: var(--panel); cursor: zoom-in; }
.pictures small { display: block; color: var(--muted); font-size: 0.72rem; line-height: 1.4; }
.pictures td small { text-align: center; }
.pictures .more { display: none; }
.pictures .long { display: -webkit-box; overflow: hidden; -webkit-box-orient: vertical; -webkit-line-clamp: 4; }
.pictures[style] img { width: clamp(80px, 36rem / var(--columns), 148px); height: auto; aspect-ratio: 1; }
.pictures i { margin-right: 0.4rem; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.good, .pictures .good { color: var(--good); }
.bad, .pictures .bad { color: var(--bad); }
.filtered { margin: 1.2rem 0; }
.filters { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 1rem; margin-bottom: 0.7rem; color: var(--muted); font-size: 0.875rem; }
.filtered .scroll { margin-top: 0; }
.chips { display: flex; flex-wrap: wrap; gap: 0.4rem; }
.chip { padding: 0.2rem 0.6rem; border: 1px solid var(--line); border-radius: 1rem; color: var(--ink); cursor: pointer; }
.chip input { margin: 0 0.4rem 0 0; accent-color: var(--accent); vertical-align: -1px; }
.chip i { margin-right: 0.35rem; }
select, .code button, dialog button {
  padding: 0.25rem 0.5rem; border: 1px solid var(--line); border-radius: 6px; background: var(--panel); color: var(--ink);
  font: inherit; cursor: pointer;
}
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 12.5rem), 1fr)); gap: 1rem; margin: 1.2rem 0; }
.tile { padding: 0.9rem 1rem; border: 1px solid var(--line); border-radius: 8px; background: var(--panel); }
.tile h3 { margin: 0; color: var(--muted); font-size: 0.85rem; font-weight: 500; }
.tile b { display: block; margin: 0.15rem 0; font-size: 1.7rem; font-weight: 650; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.tile small { display: block; color: var(--muted); font-size: 0.8rem; line-height: 1.4; }
details { margin: 0.8rem 0; border: 1px solid var(--line); border-radius: 8px; }
summary { padding: 0.65rem 0.9rem; font-weight: 600; cursor: pointer; }
details > :not(summary) { margin-left: 0.9rem; margin-right: 0.9rem; }
dl { display: grid; grid-template-columns: minmax(6rem, 11rem) minmax(0, 1fr); gap: 0.35rem 1rem; margin: 0.4rem 0 1rem; font-size: 0.875rem; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.code { position: relative; margin: 0.8rem 0; border: 1px solid var(--line); border-radius: 8px; background: var(--panel); }
.code pre { margin: 0; padding: 0.7rem 5rem 0.7rem 0.9rem; white-space: normal; overflow-wrap: anywhere; }
.code code { display: block; margin: 0.25rem 0; padding-left: 1.4rem; text-indent: -1.4rem; white-space: pre-wrap; }
code { font: 0.82rem/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.code button { position: absolute; top: 0.5rem; right: 0.5rem; font-size: 0.78rem; background: var(--paper); }
dialog {
  width: max-content; max-width: min(76rem, calc(100vw - 2rem)); max-height: calc(100vh - 2rem); padding: 1rem; border: 1px solid var(--line);
  border-radius: 12px; background: var(--paper); color: var(--ink);
}
dialog::backdrop { background: rgb(0 0 0 / 0.6); }
.bar { display: flex; align-items: start; gap: 0.4rem; margin-bottom: 0.8rem; }
.bar p { flex: 1; margin: 0; font-weight: 600; }
dialog small { display: block; color: var(--muted); font-size: 0.8rem; font-weight: 400; }
.shots { display: flex; flex-wrap: wrap; gap: 0.8rem; }
.shots figure { flex: 0 0 14rem; padding: 0; border: 0; }
.shots figcaption { margin: 0 0 0.35rem; color: var(--ink); }
.shots img { display: block; width: 100%; border-radius: 6px; background: #fff; }
.shots .good { color: var(--good); }
.shots .bad { color: var(--bad); }
[hidden] { display: none !important; }
@media (max-width: 40rem) {
  .shots figure { flex-basis: calc(50% - 0.4rem); }
  .code pre { padding-right: 0.9rem; padding-top: 2.6rem; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: 0.5rem; }
  section { margin-top: 2rem; }
  .pictures img { width: 56px; height: 56px; }
  .pictures[style] img { width: clamp(56px, 64vw / var(--columns), 120px); }
  .pictures tbody th { max-width: 6.2rem; padding-left: 0.5rem; font-size: 0.72rem; line-height: 1.25; }
  .data tbody th { min-width: 7.2rem; max-width: 8.2rem; white-space: normal; overflow-wrap: anywhere; line-height: 1.3; }
  .badge { margin-left: 0; }
  .data th, .data td, .data button { padding-left: 0.55rem; padding-right: 0.55rem; }
}
@media print { .scroll { overflow: visible; } nav, .filters, .code button { display: none; } }
`;
