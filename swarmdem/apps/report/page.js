"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";

  // Sorting: a click on a column's head; numbers by their exact value, the rest by text.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head, column) => {
      head.querySelector("button")?.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && !head.classList.contains("n"));
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const numeric = head.classList.contains("n");
        const key = (row) => row.cells[column].dataset.key === undefined ? null : Number(row.cells[column].dataset.key);
        const order = (a, b) => {
          if (!numeric && key(a) === null) {
            return (up ? 1 : -1) * a.cells[column].textContent.localeCompare(b.cells[column].textContent, "en", { numeric: true });
          }
          if (key(a) === null || key(b) === null) { return (key(a) === null) - (key(b) === null); }
          return (up ? 1 : -1) * (key(a) - key(b));
        };
        body.append(...[...body.rows].sort(order));
      });
    });
  }

  // Bands: one level at a time.
  for (const choice of document.querySelectorAll("select.level")) {
    const views = [...choice.closest("section").querySelectorAll("figure[data-level]")];
    const show = () => views.forEach((view) => { view.hidden = view.dataset.level !== choice.value; });
    choice.addEventListener("change", show);
    show();
  }

  // Trees: the one of the round that the slider stands at.
  const element = (name, attributes, ...children) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) { made.setAttribute(key, value); }
    made.append(...children);
    return made;
  };
  const classes = (colour) => (colour < 0 ? "g groot" : `g g${colour % 8}`);

  function drawTree(peers, groups) {
    const ROW = 17, TOP = 8, COLUMN = 178, BOX = 146, HIGH = 28;
    const children = groups.map(() => []);
    groups.forEach((group, place) => { if (group[3] >= 0) { children[group[3]].push(place); } });
    const drawn = [];
    const levels = Math.max(1, ...groups.map((group) => group[2]));
    let y = TOP;
    const box = (place) => {
      const [name, colour, level, parent, leaves, aggregator, members, included, cut] = groups[place];
      const x = 4 + COLUMN * (levels - level), ends = [];
      for (const child of children[place]) { ends.push([4 + COLUMN * (levels - groups[child][2]), box(child)]); }
      for (const leaf of leaves) {
        ends.push([4 + COLUMN * levels, y + ROW / 2]);
        const led = groups.filter((group) => group[5] === leaf).map((group) => group[0]);
        drawn.push(element("text", { x: 10 + COLUMN * levels, y: y + ROW / 2 + 4 }, peers[leaf]));
        if (led.length) { drawn.push(element("text", { x: 72 + COLUMN * levels, y: y + ROW / 2 + 4, class: "quiet" }, `leads ${led.join(", ")}`)); }
        y += ROW;
      }
      if (!ends.length) { y += HIGH + 6; ends.push([x + BOX, y - HIGH / 2]); }
      const middle = (ends[0][1] + ends[ends.length - 1][1]) / 2;
      for (const [endX, endY] of ends) {
        const from = x + BOX, bend = from + 14;
        drawn.push(element("path", { d: `M${from} ${middle}H${bend}V${endY}H${endX}` }));
      }
      const size = { x, y: middle - HIGH / 2, width: BOX, height: HIGH, rx: 4 };
      drawn.push(element("rect", { ...size, class: `${classes(colour)} box` }));
      if (colour >= 8) { drawn.push(element("rect", { ...size, class: "over", fill: `url(#${colour >= 16 ? "dotted" : "striped"})` })); }
      drawn.push(element("text", { x: x + 7, y: middle - 2 }, `${name}: ${members} peers${cut ? ", cut off" : ""}`));
      drawn.push(element("text", { x: x + 7, y: middle + 10 }, aggregator < 0 ? "no result" : `led by ${peers[aggregator]}`));
      return middle;
    };
    groups.forEach((group, place) => { if (group[3] < 0) { box(place); y += 12; } });
    const width = 180 + COLUMN * levels;
    const svg = element("svg", { class: "tree", viewBox: `0 0 ${width} ${y}`, width, role: "img" }, ...drawn);
    svg.setAttribute("aria-label", `Tree of ${groups.length} groups`);
    return svg;
  }

  for (const view of document.querySelectorAll(".treeview")) {
    const data = JSON.parse(view.querySelector("script.tree-data").textContent);
    const slider = view.querySelector("input"), output = view.querySelector("output"), place = view.querySelector(".drawing");
    const show = () => {
      const [round, certified, groups] = data.rounds[Number(slider.value)];
      const roots = groups.filter((group) => group[3] < 0).length;
      output.textContent = `round ${round}${certified ? "" : " (uncertified)"}${roots > 1 ? `, ${roots} trees` : ""}`;
      slider.setAttribute("aria-valuetext", output.textContent);
      place.replaceChildren(drawTree(data.peers, groups));
    };
    view.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => {
      slider.value = Number(slider.value) + Number(button.dataset.step);
      show();
    }));
    slider.addEventListener("input", show);
    view.querySelector(".controls").hidden = false;
    show();
  }

  // A link to what is folded away opens it; so does printing.
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let fold = target; fold; fold = fold.parentElement) { if (fold.tagName === "DETAILS") { fold.open = true; } }
    if (target) { target.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
  open();
})();
