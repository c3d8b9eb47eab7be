"use strict";

/* Tables: sort by a click on a heading, filter by words, the first rows at once and all of them when asked for. */

const FIRST = Number(document.body.dataset.first);
const kept = new Map();  // table -> the text of its further rows, until it has them

function complete(table) {
  const further = document.createElement("template");
  further.innerHTML = kept.get(table) ?? "";
  kept.delete(table);
  table.tBodies[0].append(...further.content.querySelectorAll("tr"));
}

function key(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.sort === undefined) return cell.textContent.trim();
  return cell.dataset.sort === "" ? null : Number(cell.dataset.sort);
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sort(table, head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) {
    if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  }
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  complete(table);
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: key(row, head.cellIndex) }));
  const unknown = rows.filter((entry) => entry.key === null);  // last, whichever the direction
  const known = rows.filter((entry) => entry.key !== null).sort((a, b) => compare(a.key, b.key));
  if (descending) known.reverse();
  table.tBodies[0].append(...known.concat(unknown).map((entry) => entry.row));
  show(table);
}

function show(table) {
  complete(table);
  const words = (table.dataset.words || "").split(/\s+/).filter(Boolean);
  let matching = 0;
  for (const row of table.tBodies[0].rows) {
    const text = words.length ? row.textContent.toLowerCase() : "";
    const fits = words.every((word) => text.includes(word));
    row.dataset.fits = fits ? "yes" : "no";
    matching += fits ? 1 : 0;
    row.hidden = !fits || (matching > FIRST && !table.dataset.whole);
  }
  const more = table.parentElement.nextElementSibling;
  if (more?.matches("button.more")) more.hidden = matching <= FIRST || Boolean(table.dataset.whole);
  return matching;
}

function addMore(table, further) {
  kept.set(table, further.textContent);
  const more = button(`Show all ${further.dataset.rows} rows`, () => {
    table.dataset.whole = "yes";
    show(table);
  });
  more.className = "more";
  further.replaceWith(more);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    head.querySelector("button")?.addEventListener("click", () => sort(table, head));
  }
  const further = table.parentElement.nextElementSibling;
  if (further?.matches("noscript")) addMore(table, further);
}

document.getElementById("filter")?.addEventListener("input", (event) => {
  const runs = document.getElementById("runs");
  runs.dataset.words = event.target.value.toLowerCase();
  document.getElementById("matching").textContent = `${show(runs)} runs`;
});

/* Files: a table as CSV and LaTeX, a plot as these and as SVG and PNG. */

const TEX = JSON.parse(document.getElementById("tex").textContent);

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

function save(name, suffix, url) {
  const link = document.createElement("a");
  link.href = url;
  link.download = `${name.replace(/[^\w.=+-]+/g, "_").slice(0, 80)}.${suffix}`;
  link.click();
}

function saveText(name, suffix, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  save(name, suffix, url);
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function csv(rows) {
  const quoted = (cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n";
}

function latex(rows, numbers, caption) {
  const tex = (text) => [...text].map((letter) => TEX[letter] ?? letter).join("");
  const line = (row) => `${row.map(tex).join(" & ")} \\\\`;
  const [head, ...body] = rows;
  return [
    "% needs \\usepackage{booktabs}", "\\begin{table}", `\\caption{${tex(caption)}}`,
    `\\begin{tabular}{${numbers.map((is) => (is ? "r" : "l")).join("")}}`, "\\toprule", line(head), "\\midrule",
    ...body.map(line), "\\bottomrule", "\\end{tabular}", "\\end{table}", "",
  ].join("\n");
}

function text(node) {
  return node.textContent.trim().replace(/\s+/g, " ");
}

function cells(table, exact) {
  complete(table);
  const plain = /^-?[\d,]*\.?\d+$/;  // a number and nothing else: as it was measured
  const said = (cell) => (exact && cell.dataset.sort && plain.test(text(cell)) ? cell.dataset.sort : text(cell));
  const rows = [...table.tBodies[0].rows].filter((row) => row.dataset.fits !== "no");
  return [[...table.tHead.rows[0].cells].map(text), ...rows.map((row) => [...row.cells].map(said))];
}

function toolbar(name, buttons) {
  const bar = document.createElement("div");
  bar.className = "save";
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", `Save: ${name}`);
  bar.append("Save as ", ...buttons);
  return bar;
}

for (const table of document.querySelectorAll("table.saved")) {
  const name = table.dataset.name;
  const numbers = [...table.tHead.rows[0].cells].map((cell) => cell.classList.contains("num"));
  table.parentElement.before(toolbar(name, [
    button("CSV", () => saveText(name, "csv", csv(cells(table, true)))),
    button("LaTeX", () => saveText(name, "tex", latex(cells(table, false), numbers, name))),
  ]));
}

/* Plots: drawn by Vega-Lite when they come into sight, or when there is time; the library is loaded for the first. */

const darkness = matchMedia("(prefers-color-scheme: dark)");
const COLOURS = {
  light: { ink: "#1c2024", soft: "#5b6570", rule: "#d5d9de", paper: "#ffffff", series: ["#1f5fbf", "#b84e00", "#1b7a3d", "#9a2fae", "#b3261e", "#006d77", "#6b4f00", "#4b4fd1", "#a0245f", "#4d5661"] },
  dark: { ink: "#e6e9ec", soft: "#a3adb7", rule: "#3a4148", paper: "#15181b", series: ["#7db2ff", "#ffab66", "#6fd08f", "#e19bf0", "#ff8f8f", "#5fd0d8", "#e6c35c", "#b3b5ff", "#ff9ac8", "#c3cad1"] },
};

function config(colours, background) {
  const letters = { labelColor: colours.ink, titleColor: colours.ink, labelFontSize: 12, titleFontSize: 12 };
  return {
    background: background ? colours.paper : "transparent", font: "system-ui, sans-serif", view: { stroke: null },
    axis: { ...letters, titleFontWeight: "normal", gridColor: colours.rule, domainColor: colours.soft, tickColor: colours.soft },
    axisX: { grid: false }, legend: letters, text: { fontSize: 12, fontWeight: "bold", fill: colours.ink },
    range: { category: colours.series }, mark: { color: colours.series[0] }, rule: { color: colours.series[0] },
  };
}

let library = null;
function loaded() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.body.dataset.library;
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error(`cannot load ${script.src}`)));
    document.head.append(script);
  });
  return library;
}

async function draw(place, spec, dark, background = false) {
  await loaded();
  const options = { actions: false, renderer: "svg", ast: true, defaultStyle: false, tooltip: { theme: dark ? "dark" : "light" } };
  return vegaEmbed(place, spec, { ...options, config: config(dark ? COLOURS.dark : COLOURS.light, background) });
}

class Drawing {
  constructor(figure) {
    this.place = figure.querySelector(".canvas");
    Object.assign(this, JSON.parse(figure.querySelector("script").textContent));
    this.names = Object.keys(this.columns);
    this.drawn = null;
    const name = this.title;
    figure.querySelector("figcaption").after(toolbar(name, [
      button("SVG", () => this.picture("svg")),
      button("PNG", () => this.picture("png")),
      button("CSV", () => saveText(name, "csv", csv(this.rows()))),
      button("LaTeX", () => saveText(name, "tex", latex(this.rows(), this.names.map((key) => this.isNumber(key)), name))),
    ]), this.values());
  }

  isNumber(key) {
    return this.spec.data.values.every((row) => row[key] === null || typeof row[key] === "number");
  }

  rows() {
    const said = (value) => (value === null ? "" : String(value));
    const rows = this.spec.data.values.map((row) => this.names.map((key) => said(row[key])));
    return [Object.values(this.columns), ...rows];
  }

  values() {
    const details = document.createElement("details"), summary = document.createElement("summary");
    summary.textContent = "Values";
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (!details.querySelector("table")) details.append(this.table());
    });
    return details;
  }

  table() {
    const table = document.createElement("table"), [head, ...body] = this.rows();
    for (const name of head) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      (table.tHead?.rows[0] ?? table.createTHead().insertRow()).append(cell);
    }
    const rows = table.createTBody();
    for (const row of body) {
      const line = rows.insertRow();
      for (const value of row) line.insertCell().textContent = value;
    }
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Values: ${this.title}`);
    scroll.append(table);
    return scroll;
  }

  async draw() {
    this.drawn ??= draw(this.place, this.spec, darkness.matches).catch((error) => {
      this.place.textContent = `The plot cannot be drawn: ${error.message}`;
    });
    return this.drawn;
  }

  async again() {
    if (!this.drawn) return;
    (await this.drawn)?.finalize();
    this.drawn = null;
    await this.draw();
  }

  async picture(suffix) {
    const made = await draw(document.createElement("div"), { ...this.spec, width: 480 }, false, true);
    save(this.title, suffix, await made.view.toImageURL(suffix, 2));
    made.finalize();
  }
}

const drawings = new Map([...document.querySelectorAll("figure.plot")].map((figure) => [figure, new Drawing(figure)]));
const inSight = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) drawings.get(entry.target).draw();
}, { rootMargin: "400px" });
for (const figure of drawings.keys()) inSight.observe(figure);
darkness.addEventListener("change", () => drawings.forEach((drawing) => drawing.again()));

const rest = [...drawings.values()];
async function drawNext() {
  const next = rest.shift();
  if (!next) return;
  if (next.place.clientWidth) await next.draw();  // what is folded is drawn when it is opened
  requestIdleCallback(drawNext);
}
addEventListener("load", () => requestIdleCallback(drawNext));

/* Print: what is folded is opened, but for what nobody has run. */

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open], .unrun)")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
