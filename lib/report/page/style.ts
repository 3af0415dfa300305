import { palette } from "./palette";

/** Light and dark by the reader's setting; wide things scroll inside themselves, so that the page never does. */
export const STYLE = `
:root {
  --paper: #fdfdfc; --panel: #f4f3f0; --ink: #1d1d1f; --muted: #66656b; --line: #dddbd6; --accent: #0b62c4;
  --original: #5f6368; ${palette("light")}
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #151618; --panel: #1e2023; --ink: #ececec; --muted: #a0a2a8; --line: #36383d; --accent: #6fb1ff;
    --original: #b3b7bd; ${palette("dark")}
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
.data tr > :first-child { text-align: left; }
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
.data i { display: inline-block; width: 0.65rem; height: 0.65rem; margin-right: 0.55rem; border-radius: 3px; }
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
.pictures img { display: block; width: 88px; height: 88px; border-radius: 4px; background: #fff; }
@media (max-width: 40rem) {
  section { margin-top: 2rem; }
  .pictures img { width: 56px; height: 56px; }
  .pictures tbody th { max-width: 6.2rem; padding-left: 0.5rem; font-size: 0.72rem; line-height: 1.25; }
  .data tbody th { min-width: 7.2rem; max-width: 8.2rem; white-space: normal; line-height: 1.3; }
  .badge { margin-left: 0; }
  .data th, .data td, .data button { padding-left: 0.55rem; padding-right: 0.55rem; }
}
@media print { .scroll { overflow: visible; } nav { display: none; } }
`;
