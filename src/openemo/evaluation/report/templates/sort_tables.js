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
