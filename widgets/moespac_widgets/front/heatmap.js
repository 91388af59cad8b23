// A map of rows x columns on a canvas (layers x experts, experts x steps): amounts by colour, and by figures
// where there is room; a box around what is chosen, a dot in what is marked. One Tab stop; arrows move the box.

import { cleared } from "./canvas.js";
import { cividis, clamp, el } from "./dom.js";

export const GUTTER = 34; // left of the columns; a chart under a map takes the same, so that they line up
export const EDGE = 3; // room for the box around a cell at the edge
const AXIS = 16;
const NONE = "rgba(128,128,128,0.14)";

/** Colours of the amounts 0..top: nothing is nearly the page, and the more, the further from the page. */
function colours(top, dark) {
  const part = (n) => (top > 1 ? (n - 1) / (top - 1) : 1);
  const of = (n) => cividis(dark ? 0.25 + 0.75 * part(n) : 0.85 * (1 - part(n)));
  return Array.from({ length: top + 1 }, (_, n) => (n ? of(n) : null));
}
const luma = ([r, g, b]) => 0.3 * r + 0.59 * g + 0.11 * b;
const isDark = (style) => luma(style.backgroundColor.match(/[\d.]+/g).map(Number)) < 128;
const css = (rgb) => (rgb ? `rgb(${rgb})` : NONE);

/** Every how many rows or columns a number fits. */
function stride(size, room) {
  return [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 200, 500].find((n) => n * size >= room) ?? 1000;
}

export class Grid {
  /** pick(row, column) is called with the chosen cell; hint(row, column) describes a cell in words. */
  constructor(host, { label, rowLabel, columnLabel, pick, hint, height = 250, tallest = 20, legend = true }) {
    Object.assign(this, { host, rowLabel, columnLabel, pick, hint, height, tallest });
    this.canvas = el("canvas", { tabindex: "0", role: "application", "aria-label": label });
    this.legend = el("div", { class: "ms-legend", hidden: !legend });
    this.words = el("div", { class: "ms-hint" });
    this.element = el("div", {}, this.canvas, this.legend, this.words);
    const under = (event) => {
      const column = Math.floor((event.offsetX - GUTTER) / this.width);
      const row = Math.floor((event.offsetY - EDGE) / this.tall);
      return row >= 0 && row < this.rows && column >= 0 && column < this.columns ? [row, column] : null;
    };
    host.listen(this.canvas, "click", (event) => {
      const cell = under(event);
      if (cell) pick(...cell);
    });
    host.listen(this.canvas, "pointermove", (event) => {
      const cell = under(event);
      this.words.textContent = cell ? hint(...cell) : "";
    });
    host.listen(this.canvas, "pointerleave", () => {
      this.words.textContent = this.chosenWords();
    });
    host.listen(this.canvas, "keydown", (event) => {
      const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const [row, column] = this.chosen ?? [0, -by[1]];
      pick(clamp(row + by[0], 0, this.rows - 1), clamp(column + by[1], 0, this.columns - 1));
    });
  }

  chosenWords() {
    return this.chosen ? this.hint(...this.chosen) : "";
  }

  /** values: rows x columns amounts 0..top; chosen: [row, column] or null;
   *  marked: a Set of row * columns + column; rowName, columnName: the labels of the axes;
   *  line: a column to draw a line through, or -1; figures: whether amounts may be written into cells. */
  draw({
    values,
    rows,
    columns,
    top,
    chosen,
    marked,
    rowName = String,
    columnName = String,
    line = -1,
    figures = true
  }) {
    Object.assign(this, { rows, columns, chosen });
    const { canvas } = this;
    const wide = canvas.clientWidth;
    this.width = (wide - GUTTER - EDGE) / columns;
    this.tall = clamp(Math.floor(this.height / rows), 3, this.tallest);
    const high = this.tall * rows + 2 * AXIS + EDGE;
    const ctx = cleared(canvas, high);
    ctx.translate(0, EDGE);
    const { width, tall } = this;
    const gap = width > 4 && tall > 4 ? 1 : 0;
    const style = getComputedStyle(this.host.root);
    const dark = isDark(style);
    const fills = colours(top, dark);
    const left = (column) => GUTTER + column * width;
    // One colour after another: to change the colour costs more than to fill a cell.
    const cells = Array.from({ length: top + 1 }, () => []);
    for (let i = 0; i < rows * columns; i++) cells[clamp(Math.round(values[i]), 0, top)].push(i);
    cells.forEach((some, amount) => {
      ctx.fillStyle = css(fills[amount]);
      for (const i of some)
        ctx.fillRect(left(i % columns), Math.floor(i / columns) * tall, width - gap, tall - gap);
    });
    if (figures && width >= 9 && tall >= 11) this.figures(ctx, cells, fills, left);
    ctx.fillStyle = style.color;
    ctx.font = `11px ${style.fontFamily}`;
    this.axes(ctx, rowName, columnName);
    if (line >= 0) ctx.fillRect(left(line) + width / 2 - 1, 0, 2, tall * rows + 3);
    for (const i of marked ?? [])
      this.dot(ctx, left(i % columns) + (width - gap) / 2, (Math.floor(i / columns) + 0.5) * tall, style);
    if (chosen) this.box(ctx, left(chosen[1]), chosen[0] * tall, style);
    this.drawLegend(fills, top, dark);
    if (!canvas.matches(":hover")) this.words.textContent = this.chosenWords();
  }

  figures(ctx, cells, fills, left) {
    ctx.font = `${Math.min(11, this.tall - 3)}px sans-serif`;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    cells.forEach((some, amount) => {
      if (!amount) return;
      ctx.fillStyle = luma(fills[amount]) > 110 ? "#000" : "#fff";
      for (const i of some) {
        ctx.fillText(
          amount,
          left(i % this.columns) + this.width / 2,
          (Math.floor(i / this.columns) + 0.5) * this.tall
        );
      }
    });
  }

  axes(ctx, rowName, columnName) {
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    for (let row = 0, by = stride(this.tall, 12); row < this.rows; row += by) {
      ctx.fillText(rowName(row), GUTTER - 5, Math.max((row + 0.5) * this.tall, 4));
    }
    const under = this.tall * this.rows + AXIS / 2 + 1;
    ctx.textAlign = "center";
    for (let column = 0, by = stride(this.width, 26); column < this.columns; column += by) {
      ctx.fillText(columnName(column), GUTTER + (column + 0.5) * this.width, under);
    }
    ctx.textAlign = "left";
    ctx.fillText(`↓ ${this.rowLabel}   → ${this.columnLabel}`, GUTTER, under + AXIS);
  }

  // Two rings, one of the ink and one of the page: seen on any amount, on a light page and on a dark one.
  box(ctx, x, y, style) {
    const width = Math.max(this.width, 4);
    for (const [colour, wide, out] of [
      [style.backgroundColor, 5, 1.5],
      [style.color, 2.5, 1.5]
    ]) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = wide;
      ctx.strokeRect(x - out, y - out, width + 2 * out - 1, this.tall + 2 * out - 1);
    }
  }

  dot(ctx, x, y, style) {
    const radius = clamp(Math.min(this.width, this.tall) / 3, 2, 5);
    for (const [colour, size] of [
      [style.backgroundColor, radius + 1.5],
      [style.color, radius]
    ]) {
      ctx.fillStyle = colour;
      ctx.beginPath();
      ctx.arc(x, y, size, 0, 2 * Math.PI);
      ctx.fill();
    }
  }

  drawLegend(fills, top, dark) {
    if (this.legend.hidden || this.shown === `${top} ${dark}`) return;
    this.shown = `${top} ${dark}`;
    const by = Math.ceil(top / 9) || 1;
    const shown = fills.map((fill, n) => [fill, n]).filter(([, n]) => n % by === 0 || n === top);
    this.legend.replaceChildren(
      ...shown.map(([fill, n]) => el("span", {}, el("i", { style: `background:${css(fill)}` }), String(n)))
    );
  }
}
