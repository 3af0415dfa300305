/**
 * Sorts a table by the column whose heading is pressed; again, the other way: published rows stay below ours. Leaves out
 * rows and columns that filters are set against, shows a row of pictures large, and copies commands.
 */
export const SCRIPT = `
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent : Number(cell.dataset.sort);
  };
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const compare = (a, b) => {
      const group = a.classList.contains("published") - b.classList.contains("published");
      if (group !== 0) return group;
      const [x, y] = [key(a, column), key(b, column)];
      if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
      const order = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
      return down ? -order : order;
    };
    body.append(...[...body.rows].sort(compare));
  }));
}
for (const place of document.querySelectorAll(".filtered")) {
  const table = place.querySelector("table");
  const bodies = [...table.tBodies];
  const rows = bodies.flatMap((body) => [...body.rows].filter((row) => !row.classList.contains("group")));
  const selects = [...place.querySelectorAll("select")];
  const boxes = [...place.querySelectorAll("[data-column]")];
  const apply = () => {
    for (const row of rows) row.hidden = selects.some(({ dataset, value }) => value !== "" && row.dataset[dataset.key] !== value);
    for (const body of bodies) body.hidden = [...body.rows].every((row) => row.hidden || row.classList.contains("group"));
    for (const { dataset, checked } of boxes)
      for (const row of [table.tHead.rows[0], ...rows]) row.cells[dataset.column].hidden = !checked;
    const shown = rows.filter((row) => !row.hidden).length;
    place.querySelector("output").textContent = shown === rows.length ? "" : shown + " of " + rows.length + " rows";
  };
  for (const control of [...selects, ...boxes]) control.addEventListener("change", apply);
}
const grids = [...document.querySelectorAll("table.pictures")];
if (grids.length > 0) {
  const dialog = document.body.appendChild(document.createElement("dialog"));
  let current;
  const show = (row) => {
    current = row;
    const heads = row.closest("table").tHead.rows[0].cells;
    const title = document.createElement("p");
    title.append(...[...row.cells[0].childNodes].map((node) => node.cloneNode(true)));
    const shots = [...row.cells].flatMap((cell, index) => {
      if (index === 0 || cell.hidden || cell.firstChild === null) return [];
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.append(...[...heads[index].childNodes].map((node) => node.cloneNode(true)));
      figure.append(caption, ...[...cell.childNodes].map((node) => node.cloneNode(true)));
      for (const image of figure.querySelectorAll("img")) image.removeAttribute("tabindex");
      return [figure];
    });
    const buttons = [["←", -1, "Previous row"], ["→", 1, "Next row"], ["×", 0, "Close"]].map(([sign, by, name]) => {
      const button = document.createElement("button");
      button.textContent = sign;
      button.setAttribute("aria-label", name);
      button.addEventListener("click", () => by === 0 ? dialog.close() : move(by));
      return button;
    });
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.append(title, ...buttons);
    const box = document.createElement("div");
    box.className = "shots";
    box.append(...shots);
    dialog.replaceChildren(bar, box);
    if (!dialog.open) dialog.showModal();
  };
  const move = (by) => {
    const rows = [...current.closest("table").querySelectorAll("tbody:not([hidden]) tr:not(.group):not([hidden])")];
    const next = rows[rows.indexOf(current) + by];
    if (next !== undefined) show(next);
  };
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", ({ key }) => {
    if (key === "ArrowLeft") move(-1);
    if (key === "ArrowRight") move(1);
  });
  for (const image of document.querySelectorAll("table.pictures img")) {
    image.tabIndex = 0;
    image.addEventListener("click", () => show(image.closest("tr")));
    image.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      show(image.closest("tr"));
    });
  }
}
for (const button of document.querySelectorAll(".code button")) button.addEventListener("click", async () => {
  const code = button.nextElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
  }
});
`;
