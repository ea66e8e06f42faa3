"use strict";

/* A click on a heading sorts by it, a second one the other way round; what is missing stays last. */
function sort(table, heading) {
  const { first } = heading.dataset;
  const other = first === "ascending" ? "descending" : "ascending";
  const order = heading.getAttribute("aria-sort") === first ? other : first;
  const sign = order === "ascending" ? 1 : -1;
  const key = (row) => row.cells[heading.cellIndex].dataset.value;
  const [body] = table.tBodies;
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    const difference = Number(x) - Number(y);
    return sign * (Number.isNaN(difference) ? x.localeCompare(y, undefined, { numeric: true }) : difference);
  });
  body.append(...rows);
  for (const one of table.tHead.rows[0].cells) one.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", order);
}

for (const button of document.querySelectorAll("table.sortable th > button")) {
  button.addEventListener("click", () => sort(button.closest("table"), button.parentElement));
}

/* On paper nothing can be unfolded. */
const folded = [];
addEventListener("beforeprint", () => {
  folded.push(...document.querySelectorAll("details:not([open])"));
  for (const one of folded) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of folded.splice(0)) one.open = false;
});
