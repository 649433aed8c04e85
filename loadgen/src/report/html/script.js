"use strict";
// Shows the figures under the pointer. Everything else on the page works without this.
(function () {
  const SVG = "http://www.w3.org/2000/svg";
  const STEPS = {
    ns: [[1e9, "s"], [1e6, "ms"], [1e3, "\u00b5s"], [1, "ns"]],
    B: [[1073741824, "GiB"], [1048576, "MiB"], [1024, "KiB"], [1, "B"]],
    "/s": [[1e9, "G/s"], [1e6, "M/s"], [1e3, "k/s"], [1, "/s"]],
  };

  function worded(value, unit) {
    if (value === null) return "\u2013";
    if (unit === "") return value.toLocaleString("en").replaceAll(",", "\u202f");
    const steps = STEPS[unit] || [[1, unit]];
    const [size, name] = steps.find(([size]) => Math.abs(value) >= size) || steps[steps.length - 1];
    const number = value / size;
    const text = number >= 1000 ? Math.round(number) : number === 0 ? 0 : number.toPrecision(3);
    return text + "\u00a0" + name;
  }

  function place(kind, x) {
    if (kind === "seconds") return (Math.round(x * 100) / 100) + "\u00a0s";
    const digits = Math.min(6, Math.max(1, Math.ceil(x)));
    return Number((100 * (1 - Math.pow(10, -x))).toFixed(digits)) + "\u00a0%";
  }

  function nearest(line, x) {
    let low = 0, high = line.x.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (line.x[middle] > x) high = middle; else low = middle;
    }
    return Math.abs(line.x[low] - x) > Math.abs(line.x[high] - x) ? high : low;
  }

  function part(parent, name, text) {
    const element = document.createElement(name);
    element.textContent = text;
    parent.append(element);
    return element;
  }

  function filled(tip, plot, x) {
    tip.replaceChildren();
    const lines = plot.panels.flatMap((panel) => panel.lines.map((line) => [panel.unit, line]));
    const first = lines[0][1];
    part(tip, "b", place(plot.kind, first.x[nearest(first, x)]));
    for (const [unit, line] of lines) {
      const index = nearest(line, x);
      const row = part(tip, "div", "");
      part(row, "span", line.name);
      // A spectrum's line that ended does not go on.
      const ended = plot.kind === "nines" ? x > line.x[line.x.length - 1] + 1e-9 : false;
      part(row, "b", ended ? "\u2013" : worded(line.y[index], unit));
    }
  }

  for (const figure of document.querySelectorAll("[data-plot]")) {
    const plot = JSON.parse(figure.dataset.plot);
    const tip = part(figure, "div", "");
    tip.className = "tip";
    tip.hidden = true;
    for (const svg of figure.querySelectorAll("svg")) {
      const left = +svg.dataset.left, right = +svg.dataset.right;
      const cross = document.createElementNS(SVG, "path");
      cross.setAttribute("class", "cross");
      svg.append(cross);
      const hide = () => { tip.hidden = true; cross.removeAttribute("d"); };
      svg.addEventListener("pointerleave", hide);
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect(), outer = figure.getBoundingClientRect();
        const scale = box.width / svg.viewBox.baseVal.width;
        const at = (event.clientX - box.left) / scale;
        if (left - 4 > at || at > right + 4) return hide();
        const share = Math.min(1, Math.max(0, (at - left) / (right - left)));
        filled(tip, plot, plot.low + share * (plot.high - plot.low));
        const x = left + share * (right - left);
        cross.setAttribute("d", "M" + x + ",14V" + svg.dataset.bottom);
        tip.hidden = false;
        const pointer = event.clientX - outer.left;
        const beside = pointer + 18 + tip.offsetWidth > outer.width ? pointer - 18 - tip.offsetWidth : pointer + 18;
        tip.style.left = Math.max(0, beside) + "px";
        tip.style.top = Math.max(0, event.clientY - outer.top - tip.offsetHeight / 2) + "px";
      });
    }
  }

  // Browsers show a drawing's title as a tip of their own, over ours.
  for (const title of document.querySelectorAll("[data-plot] svg > title")) {
    title.parentNode.setAttribute("aria-label", title.textContent + ". " + title.nextElementSibling.textContent);
    title.parentNode.removeAttribute("aria-labelledby");
    title.remove();
  }
})();
