"use strict";
// Every table carries all of its rows as JSON; sorting, finding and paging happen here, without any connection.
(function () {
  const pageRows = Number(document.body.dataset.pageRows);
  const order = new Intl.Collator("en", { numeric: true });

  function show(cell) {
    if (cell === null) return "–";
    if (typeof cell === "string") return cell;
    if (Number.isInteger(cell) && Math.abs(cell) < 1e15) return cell.toLocaleString("en-US");
    const rounded = Number(cell.toPrecision(4));
    if (rounded === 1 && cell < 1) return "> 0.9999";
    const size = Math.abs(rounded);  // where Python writes a power of ten
    return size < 1e-4 || size >= 1e4 ? rounded.toExponential().replace("e+", "e") : String(rounded);
  }

  function compare(a, b) {
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    return typeof a === "string" ? order.compare(a, b) : a - b;
  }

  function link(text, locus) {
    const to = document.createElement("a");
    to.className = "go";
    to.href = "#genome";
    to.dataset.locus = locus;
    to.textContent = text;
    return to;
  }

  function start(box) {
    const all = JSON.parse(box.querySelector('script[type="application/json"]').textContent);
    const links = box.querySelector("script.loci");
    const loci = new Map(Object.entries(links === null ? {} : JSON.parse(links.textContent))
      .map(([row, locus]) => [all[row], locus]));
    const body = box.querySelector("tbody");
    const heads = Array.from(box.querySelectorAll("th"));
    const tools = box.querySelector(".tools");
    const pager = box.querySelector(".pager");
    const [previous, next] = pager.querySelectorAll("button");
    let rows = all;
    let page = 0;

    function draw() {
      const pages = Math.max(1, Math.ceil(rows.length / pageRows));
      page = Math.min(Math.max(page, 0), pages - 1);
      const lines = rows.slice(page * pageRows, (page + 1) * pageRows).map(function (row) {
        const line = document.createElement("tr");
        if (loci.has(row)) line.className = "goes";
        row.forEach(function (cell, i) {
          const td = document.createElement("td");
          td.className = heads[i].dataset.kind;
          td.append(loci.has(row) && i === Number(links.dataset.column) ? link(show(cell), loci.get(row)) : show(cell));
          if (td.className === "effect" || td.className === "verdict") td.dataset.value = cell;
          line.append(td);
        });
        return line;
      });
      body.replaceChildren(...lines);
      pager.hidden = pages === 1;
      previous.disabled = page === 0;
      next.disabled = page === pages - 1;
      pager.querySelector(".place-in-pages").textContent = "page " + show(page + 1) + " of " + show(pages);
      const total = show(all.length) + (all.length === 1 ? " row" : " rows");
      box.querySelector(".count").textContent = rows.length === all.length ? total : show(rows.length) + " of " + total;
    }

    function sortBy(column, head) {
      const down = head.getAttribute("aria-sort") !== "descending" && head.dataset.kind === "number"
        || head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const by = function (a, b) {
        const missing = a[column] === null || b[column] === null;
        return compare(a[column], b[column]) * (down && !missing ? -1 : 1);
      };
      all.sort(by);
      if (rows !== all) rows.sort(by);
      page = 0;
      draw();
    }

    heads.forEach(function (head, column) {
      const button = head.querySelector("button");
      button.disabled = false;
      button.addEventListener("click", () => sortBy(column, head));
    });
    tools.querySelector("input").addEventListener("input", function (event) {
      const wanted = event.target.value.trim().toLowerCase();
      rows = wanted === "" ? all : all.filter((row) => row.some(
        (cell) => typeof cell === "string" && cell.toLowerCase().includes(wanted)));
      page = 0;
      draw();
    });
    previous.addEventListener("click", function () { page -= 1; draw(); });
    next.addEventListener("click", function () { page += 1; draw(); });
    tools.hidden = all.length <= pageRows;
    draw();
  }

  // What is on the page can be kept: tables as TSV, pictures as SVG or PDF, the methods text by the clipboard.
  function save(name, text, type) {
    const to = document.createElement("a");
    to.href = URL.createObjectURL(new Blob([text], { type: type }));
    to.download = name;
    to.click();
    setTimeout(() => URL.revokeObjectURL(to.href), 10000);
  }

  function offer(box, label, about, act) {
    let row = box.querySelector(":scope > .saves");
    if (row === null) {
      row = document.createElement("div");
      row.className = "saves";
      box.append(row);
    }
    const button = document.createElement("button");
    button.type = "button";
    button.className = "save";
    button.textContent = label;
    button.setAttribute("aria-label", about);
    button.addEventListener("click", act);
    row.append(button);
  }

  document.querySelectorAll(".datatable").forEach(function (box) {
    start(box);
    const name = box.id.replace(/-table$/, "") + ".tsv";
    offer(box, "TSV", "Save the table as " + name, function () {
      const heads = Array.from(box.querySelectorAll("th"), (head) => head.textContent.trim());
      const rows = JSON.parse(box.querySelector('script[type="application/json"]').textContent);
      const lines = [heads].concat(rows).map((row) => row.map(
        (cell) => cell === null ? "" : String(cell).replace(/[\t\r\n]+/g, " ")).join("\t"));
      save(name, lines.join("\n") + "\n", "text/tab-separated-values");
    });
  });

  // A picture as it looks outside this page, whose colours are no variables there.
  function standalone(picture) {
    const copy = picture.cloneNode(true);
    copy.setAttribute("width", picture.viewBox.baseVal.width + "pt");
    copy.setAttribute("height", picture.viewBox.baseVal.height + "pt");
    copy.style.fontFamily = "Arial, sans-serif";
    return new XMLSerializer().serializeToString(copy).replaceAll("var(--pos)", "#0072b2")
      .replaceAll("var(--neg)", "#d55e00").replaceAll("currentColor", "#1b2430");
  }

  // PDF is what the browser prints: the picture alone, on a sheet of its size.
  async function printAlone(picture, name) {
    const image = new Image();
    image.className = "alone";
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(standalone(picture));
    await image.decode();
    const sheet = document.createElement("style");
    const size = picture.viewBox.baseVal;
    sheet.textContent = "@page { size: " + size.width + "pt " + size.height + "pt; margin: 0 }";
    const title = document.title;
    document.head.append(sheet);
    document.body.append(image);
    document.title = name;
    window.addEventListener("afterprint", function () {
      sheet.remove();
      image.remove();
      document.title = title;
    }, { once: true });
    window.print();
  }

  document.querySelectorAll(".figure > svg").forEach(function (picture) {
    const name = (picture.getAttribute("aria-label") || "figure").replace(/[^A-Za-z0-9]+/g, "_").slice(0, 60);
    offer(picture.parentElement, "SVG", "Save the picture as " + name + ".svg", function () {
      save(name + ".svg", standalone(picture), "image/svg+xml");
    });
    offer(picture.parentElement, "PDF", "Print the picture alone, to save it as " + name + ".pdf", function () {
      printAlone(picture, name);
    });
  });

  document.querySelectorAll("blockquote.methods").forEach(function (text) {
    offer(text, "Select", "Select the text, to copy it", function () {
      getSelection().selectAllChildren(text.querySelector("span"));
    });
  });

  const opened = [];
  window.addEventListener("beforeprint", function () {
    opened.push(...document.querySelectorAll("details:not([open])"));
    opened.forEach((box) => { box.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.splice(0).forEach((box) => { box.open = false; });
  });
})();
