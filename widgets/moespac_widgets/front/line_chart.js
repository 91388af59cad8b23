// Lines over the steps of a trace, on a canvas that takes the gutter of a map above it, so that steps line up.

import { cleared } from "./canvas.js";
import { brief, clamp, el } from "./dom.js";
import { EDGE, GUTTER } from "./heatmap.js";

const PAD = 8;

export class Lines {
  /** pick(column) is called with the column that a reader clicked. */
  constructor(host, { label, height = 84, pick }) {
    Object.assign(this, { host, height });
    this.canvas = el("canvas", { role: "img", "aria-label": label });
    this.legend = el("div", { class: "ms-legend" });
    this.element = el("div", {}, this.canvas, this.legend);
    host.listen(this.canvas, "click", (event) => {
      const x = event.offsetX - GUTTER;
      if (x >= 0) pick(clamp(Math.floor(x / this.width), 0, this.columns - 1));
    });
  }

  /** series: {values, style: "steps", "bars" or "signs", colour, dash, words, sign}; NaN draws nothing.
   *  line: the column to mark, -1 for none. */
  draw({ columns, low, high, series, line = -1 }) {
    const { canvas, height } = this;
    const wide = canvas.clientWidth;
    this.columns = columns;
    this.width = (wide - GUTTER - EDGE) / columns;
    const ctx = cleared(canvas, height);
    const style = getComputedStyle(this.host.root);
    const span = high - low || 1;
    const y = (value) => height - PAD - ((value - low) / span) * (height - 2 * PAD);
    const x = (column) => GUTTER + column * this.width;
    ctx.font = `11px ${style.fontFamily}`;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    for (const value of new Set([low, low < 0 && high > 0 ? 0 : low, high])) {
      ctx.fillStyle = style.color;
      ctx.fillText(brief(value), GUTTER - 5, y(value));
      ctx.fillStyle = "rgba(128,128,128,0.4)";
      ctx.fillRect(GUTTER, y(value) - 0.5, wide - GUTTER - EDGE, 1);
    }
    for (const line of series) this.drawLine(ctx, { colour: style.color, ...line }, x, y, low);
    if (line >= 0) {
      ctx.fillStyle = style.color;
      ctx.fillRect(x(line) + this.width / 2 - 1, 0, 2, height);
    }
    this.drawLegend(series);
  }

  drawLine(ctx, { values, style, colour, dash = [], sign }, x, y, low) {
    ctx.strokeStyle = ctx.fillStyle = colour;
    ctx.lineWidth = 2;
    ctx.setLineDash(dash);
    ctx.beginPath();
    const base = y(Math.max(low, 0));
    const known = Array.from(values, (value, i) => [value, i]).filter(([value]) => !Number.isNaN(value));
    for (const [value, i] of known) {
      if (style === "bars")
        ctx.fillRect(x(i), Math.min(base, y(value)), Math.max(this.width - 1, 1), Math.abs(base - y(value)));
      else if (style === "signs") this.sign(ctx, sign, x(i) + this.width / 2, y(value));
      else {
        if (!i || Number.isNaN(values[i - 1])) ctx.moveTo(x(i), y(value));
        ctx.lineTo(x(i), y(value));
        ctx.lineTo(x(i + 1), y(value));
      }
    }
    ctx.stroke();
    ctx.setLineDash([]);
  }

  sign(ctx, sign, x, y) {
    ctx.textAlign = "center";
    ctx.fillText(sign, x, y);
  }

  drawLegend(series) {
    const words = series
      .filter((line) => line.words)
      .map((line) => line.words)
      .join();
    if (words === this.shown) return;
    this.shown = words;
    const sample = ({ style, colour = "currentColor", dash, sign }) => {
      if (style === "signs") return `${sign} `;
      if (style === "bars") return el("i", { style: `background:${colour}` });
      const stroke = dash ? (dash[0] > 3 ? "dashed" : "dotted") : "solid";
      return el("i", { style: `width:22px;height:0;vertical-align:4px;border-top:3px ${stroke} ${colour}` });
    };
    this.legend.replaceChildren(
      ...series.filter((line) => line.words).map((line) => el("span", {}, sample(line), line.words))
    );
  }
}
