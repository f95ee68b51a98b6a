"use strict";
// Interaction: tables are sorted, rows filtered, and curves have tooltips.
(() => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);
  document.documentElement.classList.add("js");

  // Tables: ascending, descending, and back to the suite's order; cells without a value stay last.
  const NOTHING = "–";
  const shown = (cell) => cell.dataset.v ?? cell.textContent.trim();
  const number = (text) => (text ? Number.parseFloat(text.replace("−", "-").replace(/^[<>]\s*/, "")) : NaN);
  for (const table of all("table.sortable")) {
    const body = table.tBodies[0];
    const order = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", title: "Sort" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
        const direction = next === undefined ? "ascending" : next;
        for (const other of heads) other.removeAttribute("aria-sort");
        if (!direction) return body.append(...order);
        head.setAttribute("aria-sort", direction);
        const texts = new Map(order.map((row) => [row, shown(row.cells[column])]));
        const there = order.filter((row) => texts.get(row) && texts.get(row) !== NOTHING);
        const numeric = there.every((row) => !Number.isNaN(number(texts.get(row))));
        const sign = direction === "ascending" ? 1 : -1;
        there.sort((a, b) => sign * (numeric
          ? number(texts.get(a)) - number(texts.get(b))
          : texts.get(a) < texts.get(b) ? -1 : 1));
        body.append(...there, ...order.filter((row) => !there.includes(row)));
      });
    });
  }

  // One filter for all tables.
  const filter = document.getElementById("filter");
  if (filter) {
    filter.closest("label").hidden = false;
    filter.addEventListener("input", () => {
      const wanted = filter.value.trim().toLowerCase();
      for (const row of all("table.sortable tbody tr")) {
        row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      }
    });
  }

  // Folded tables are printed, too.
  addEventListener("beforeprint", () => {
    for (const details of all("details")) details.open = true;
  });

  // The command.
  for (const block of all("pre.command")) {
    const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
    const status = make("span", { role: "status", className: "quiet" });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        status.textContent = " copied";
      } catch {
        getSelection().selectAllChildren(block); // ready for Ctrl-C
        status.textContent = " selected";
      }
    });
    block.after(button, status);
  }

  // Curves: a tooltip for the nearest point; arrow keys go from epoch to epoch and row to row.
  for (const figure of all("figure.curves")) {
    const panels = JSON.parse(figure.querySelector("script").textContent);
    const hiddenRows = new Set();
    const charts = all(".chart", figure).map((chart, index) => connect(chart, panels[index], hiddenRows));
    for (const button of all(".legend button", figure)) {
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        const { label } = button.dataset;
        const hide = !hiddenRows.delete(label);
        if (hide) hiddenRows.add(label);
        button.setAttribute("aria-pressed", String(!hide));
        for (const chart of charts) chart.update();
      });
    }
  }

  function connect(chart, rows, hiddenRows) {
    const svg = chart.querySelector("svg");
    const tip = chart.appendChild(make("div", { className: "tip", role: "status" }));
    const dot = svg.appendChild(document.createElementNS(svg.namespaceURI, "circle"));
    dot.setAttribute("r", "4.5");
    dot.setAttribute("fill", "currentColor");
    const groups = all(".row", svg);
    const lines = groups.map((group) => (group.dataset.at ?? "").split(" ").filter(Boolean)
      .map((pair) => pair.split(",").map(Number)));
    let row = -1;
    let step = 0;
    const clear = () => {
      tip.textContent = "";
      dot.style.display = "none";
      chart.classList.remove("picked");
      for (const group of groups) group.classList.remove("on");
      row = -1;
    };
    const pick = (r, i) => {
      clear();
      [row, step] = [r, i];
      const { label, epochs, values, ranges, diverged } = rows[r];
      const [x, y] = lines[r][i];
      const range = ranges[i] ? ` (seeds ${ranges[i][0]} to ${ranges[i][1]})` : "";
      tip.textContent = `${label}${diverged ? ", diverged" : ""}: ${values[i]}${range}, epoch ${epochs[i]}`;
      dot.style.display = "";
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      chart.classList.add("picked");
      groups[r].classList.add("on");
      const [box, frame] = [svg.getBoundingClientRect(), chart.getBoundingClientRect()];
      const scale = box.width / svg.viewBox.baseVal.width;
      const at = box.top - frame.top + y * scale;
      const left = Math.min(Math.max(x * scale - tip.offsetWidth / 2, 0), chart.clientWidth - tip.offsetWidth);
      tip.style.left = `${Math.max(left, 0)}px`;
      tip.style.top = `${at < tip.offsetHeight + 12 ? at + 14 : at - tip.offsetHeight - 12}px`;
    };
    const visible = () => rows.map((_, r) => r).filter((r) => !hiddenRows.has(rows[r].label) && lines[r].length);
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / box.width;
      const [px, py] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      let best = [Infinity];
      for (const r of visible()) {
        lines[r].forEach(([x, y], i) => {
          const distance = 4 * (x - px) ** 2 + (y - py) ** 2; // nearer in epochs counts more
          if (distance < best[0]) best = [distance, r, i];
        });
      }
      if (best.length > 1) pick(best[1], best[2]);
    };
    const keys = (event) => {
      const seen = visible();
      if (!seen.length) return;
      if (event.key === "Escape") return clear();
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      const place = Math.max(seen.indexOf(row), 0);
      const target = seen[(place + move[1] + seen.length) % seen.length];
      pick(target, Math.min(Math.max(step + move[0], 0), lines[target].length - 1));
    };
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("pointermove", nearest);
    svg.addEventListener("pointerdown", nearest);
    svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && clear());
    svg.addEventListener("keydown", keys);
    svg.addEventListener("focus", () => {
      const [first] = visible();
      if (row < 0 && first !== undefined && svg.matches(":focus-visible")) pick(first, lines[first].length - 1);
    });
    svg.addEventListener("blur", clear);
    clear();
    return { update() {
      clear();
      groups.forEach((group, r) => group.classList.toggle("off", hiddenRows.has(rows[r].label)));
    } };
  }
})();
