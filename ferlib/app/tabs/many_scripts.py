"""The scripts of the tab "Many photos and videos": sort and open rows, save files, keep the result over a reload."""

from ferlib.utils.csv_safety import BOM

#: Of the browser's storage for this tab of it: no photos; gone when it is closed, the list emptied or another begun.
KEY = "ferlib-many-photos"

#: Of the table's element: a click on a header sorts, one on a row opens and closes its card.
TABLE = """
const order = { column: null, down: false };
const opened = new Set();  // rows by file and face: Gradio writes the next table over their cards
const name = row => row.cells[1].textContent + row.dataset.card;
const key = (row, column) => {
  const cell = row.cells[column];
  if (!cell || cell.colSpan > 1) return "";  // a problem: the last, both ways
  return cell.dataset.key === undefined ? cell.textContent : Number(cell.dataset.key);
};
const compared = (a, b) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  const less = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  return order.down ? -less : less;
};
const close = row => {
  row.nextElementSibling.remove();
  row.querySelector("button").setAttribute("aria-expanded", "false");
};
const isOpen = row => row.nextElementSibling?.className === "card";
const sort = () => {
  const body = element.querySelector("tbody");
  if (!body) return opened.clear();
  const all = [...body.querySelectorAll("tr.row")];
  all.forEach(row => isOpen(row) && close(row));
  if (order.column !== null) {
    const rows = [...body.rows].sort((a, b) => compared(key(a, order.column), key(b, order.column)));
    body.append(...rows);
    element.querySelectorAll("thead th").forEach((head, i) =>
      head.setAttribute("aria-sort", i !== order.column ? "none" : order.down ? "descending" : "ascending"));
  }
  all.forEach(row => opened.has(name(row)) && open(row));
};
const open = row => {
  const { words, bars } = JSON.parse(row.dataset.card);
  const card = document.createElement("tr");
  card.className = "card";
  const cell = card.insertCell();
  cell.colSpan = row.cells.length;
  const inside = cell.appendChild(document.createElement("div"));
  const picture = row.querySelector("img");
  if (picture) inside.appendChild(picture.cloneNode());
  const right = inside.appendChild(document.createElement("div"));
  right.appendChild(document.createElement("p")).textContent = words;
  const table = right.appendChild(document.createElement("table"));
  for (const [label, said, part, colour] of bars) {
    const line = table.insertRow();
    line.insertCell().textContent = label;
    const bar = line.insertCell().appendChild(document.createElement("i"));
    bar.style.width = `${100 * part}%`;
    bar.style.background = colour;
    line.insertCell().textContent = said;
  }
  row.after(card);
  row.querySelector("button").setAttribute("aria-expanded", "true");
};
element.addEventListener("click", event => {
  const head = event.target.closest("thead th");
  const row = event.target.closest("tr.row");
  if (head?.querySelector("button")) {
    const column = head.cellIndex;
    order.down = order.column === column && !order.down;
    order.column = column;
    sort();
  } else if (row) {
    isOpen(row) ? opened.delete(name(row)) : opened.add(name(row));
    isOpen(row) ? close(row) : open(row);
  }
});
watch("value", sort);
"""

_SAVE = """const save = (content, type, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(content, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 40000);  // after a browser's own question
};"""
SAVE_CSV = f"""text => {{ {_SAVE} save(["\\u{ord(BOM):04x}", text], "text/csv;charset=utf-8", "faces.csv"); }}"""
SAVE_PARQUET = f"""text => {{ {_SAVE}
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  save([bytes], "application/vnd.apache.parquet", "faces.parquet");
}}"""

# The browser may refuse its storage, or have no room in it: nothing is kept then. The focus goes to a button that is
# about to be shown or enabled. `nothing` is for the buttons that save, for what is told and shown, and for the files.
_HELPERS = """const update = (name, value) => ({ __type__: "update", [name]: value });
  const nothing = [...Array(2).fill(update("interactive", false)), ...Array(4).fill(update("value", ""))];
  const stored = work => { try { return work(sessionStorage); } catch { return null; } };
  const focus = (id, frames = 60) => {
    const button = document.getElementById(id);
    if (button?.offsetParent && !button.disabled) button.focus({ preventScroll: true });
    else if (frames) requestAnimationFrame(() => focus(id, frames - 1));
  };"""
#: For the button that starts: nothing can be looked at before it is there. An empty list shows and keeps nothing.
CHOSEN = f"""files => {{ {_HELPERS}
  const some = Boolean(files?.length);
  if (!some) stored(storage => storage.removeItem("{KEY}"));
  return [update("interactive", some), ...(some ? [] : nothing)];
}}"""
#: For the buttons that start and stop, while photos are looked at; what was seen before is gone.
BEGUN = f"""() => {{ {_HELPERS}
  stored(storage => storage.removeItem("{KEY}"));
  focus("stop");
  return [update("interactive", false), update("visible", true), ...nothing];
}}"""
#: When they are done; the result is kept, without pictures, if the list is still there.
DONE = f"""(files, done, table, csv, parquet) => {{ {_HELPERS}
  const some = Boolean(files?.length);
  const without = (html, instead) => (html || "").replace(/<img[^>]*>/g, instead);
  const kept = JSON.stringify({{ done: without(done, ""), table: without(table, "details"), csv, parquet }});
  if (some) stored(storage => storage.setItem("{KEY}", kept));
  if ([document.body, document.getElementById("stop")].includes(document.activeElement)) focus("look");
  return [update("interactive", some), update("visible", false),
    update("interactive", Boolean(csv)), update("interactive", Boolean(parquet))];
}}"""
#: What was kept, for what is told and shown, the two files and their buttons.
RESTORE = f"""() => {{ {_HELPERS}
  const kept = JSON.parse(stored(storage => storage.getItem("{KEY}")));
  if (!kept) return [];
  const {{ done, table, csv, parquet }} = kept;
  return [...[done, table, csv, parquet].map(value => update("value", value)),
    update("interactive", Boolean(csv)), update("interactive", Boolean(parquet))];
}}"""
