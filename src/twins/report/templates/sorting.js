// A click on a column's title sorts its table: numbers largest first, names from A to Z, a second click the other way.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const title = button.closest("th");
    const body = title.closest("table").tBodies[0];
    const column = title.cellIndex;
    const key = (row) => row.cells[column].dataset.number;
    const numbers = [...body.rows].some((row) => key(row) !== undefined);
    const before = title.getAttribute("aria-sort");
    const ascending = before ? before === "descending" : !numbers;
    const order = ascending ? 1 : -1;
    const compare = (a, b) => {
      if (!numbers) return order * a.cells[column].textContent.localeCompare(b.cells[column].textContent, undefined, { numeric: true });
      if (!key(a) || !key(b)) return (key(a) ? 0 : 1) - (key(b) ? 0 : 1);  // what is not defined stays at the end
      return order * (key(a) - key(b));
    };
    body.append(...[...body.rows].sort(compare));
    for (const other of title.parentElement.cells) other.removeAttribute("aria-sort");
    title.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  });
}
