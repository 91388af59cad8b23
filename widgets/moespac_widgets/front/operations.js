// What the widgets of time share: the kinds of work with their colours and patterns, times and sizes in words,
// and a bar of where the time went. A kind has a pattern and a word too: colour alone never tells it.
import { el } from "./dom.js";
import PALETTE from "./palette.json" with { type: "json" };

const LINES = {
  // of a tile of 8 pixels: where the page shows through
  rise: [
    [0, 8, 8, 0],
    [-2, 2, 2, -2],
    [6, 10, 10, 6]
  ],
  fall: [
    [0, 0, 8, 8],
    [-2, 6, 2, 10],
    [6, -2, 10, 2]
  ],
  upright: [[2, 0, 2, 8]],
  level: [
    [0, 2, 8, 2],
    [0, 6, 8, 6]
  ],
  cross: [
    [0, 0, 8, 8],
    [0, 8, 8, 0]
  ],
  none: []
};
const WORK = {
  // colour of the palette (none: the ink), pattern
  draft: ["chosen", "upright"],
  plan: [null, "cross"],
  dense: [null, "level"],
  experts: ["own", "none"],
  cpu: ["rejected", "rise"],
  copy: ["accepted", "fall"]
};
const TILES = new Map();

/** A kind's tile on this ink and paper: a canvas of 8 x 8. */
function tile(kind, ink, paper) {
  const key = `${kind} ${ink} ${paper}`;
  if (!TILES.has(key)) {
    const [colour, lines] = WORK[kind];
    const canvas = el("canvas", { width: 8, height: 8 });
    const ctx = canvas.getContext("2d");
    ctx.fillStyle = colour ? PALETTE.kinds[colour] : ink;
    ctx.globalAlpha = colour ? 1 : 0.75;
    ctx.fillRect(0, 0, 8, 8);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = paper;
    ctx.lineWidth = 1.4;
    for (const [x, y, toX, toY] of LINES[lines]) {
      ctx.beginPath();
      ctx.moveTo(x, y);
      ctx.lineTo(toX, toY);
      ctx.stroke();
    }
    TILES.set(key, canvas);
  }
  return TILES.get(key);
}

/** A canvas fill for each kind: its pattern, or its colour where a pattern has no room. */
export function workFills(ctx, style) {
  return Object.fromEntries(
    Object.entries(WORK).map(([kind, [colour]]) => [
      kind,
      {
        pattern: ctx.createPattern(tile(kind, style.color, style.backgroundColor), "repeat"),
        colour: colour ? PALETTE.kinds[colour] : style.color
      }
    ])
  );
}

/** The same as a style of an element. */
function workStyle(kind, style) {
  return `background:url(${tile(kind, style.color, style.backgroundColor).toDataURL()})`;
}

/** A legend of [kind, words] pairs. */
export function workLegend(style, kinds) {
  return kinds.map(([kind, words]) => el("span", {}, el("i", { style: workStyle(kind, style) }), words));
}

/** A bar of `whole` seconds, split into [kind, seconds, words] parts. */
export function workBar(style, parts, whole) {
  const pieces = parts
    .filter(([, seconds]) => seconds > 0)
    .map(([kind, seconds, words]) =>
      el("i", {
        style: `width:${(100 * seconds) / whole}%;${workStyle(kind, style)}`,
        title: `${words}: ${timeWords(seconds)}`
      })
    );
  return el("div", { class: "ms-work", style: "display:flex;height:20px;overflow:hidden" }, ...pieces);
}

const digits = (value) =>
  value >= 99.5 ? value.toFixed(0) : value >= 9.95 ? value.toFixed(1) : value.toFixed(2);

/** Seconds in the unit that suits them. */
export function timeWords(seconds) {
  if (seconds === 0) return "0 ms";
  if (seconds < 0.9995e-3) return `${digits(1e6 * seconds)} µs`;
  return seconds < 0.9995 ? `${digits(1e3 * seconds)} ms` : `${digits(seconds)} s`;
}

/** Bytes in decimal units. */
export function sizeWords(bytes) {
  const step = [
    [1e9, "GB"],
    [1e6, "MB"],
    [1e3, "kB"]
  ].find(([unit]) => bytes >= 0.9995 * unit);
  return step ? `${digits(bytes / step[0])} ${step[1]}` : `${Math.round(bytes)} B`;
}

/** Tokens a second, percentages: three figures. */
export const figure = (value) => digits(value);
export const percent = (part) => `${(100 * part).toFixed(part > 0 && part < 0.0995 ? 1 : 0)} %`;

/** The round step, 1, 2 or 5 times a power of ten, that is at least `least`. */
export function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least * 0.9999);
}
