// Elements, numbers in words, colours, and the arrays that come over the wire.
import PALETTE from "./palette.json" with { type: "json" };

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (node instanceof HTMLElement && name in node && typeof value !== "string") node[name] = value;
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** An element with attributes and children, which are nodes or text. Events are left to host.listen. */
export const el = (tag, attributes = {}, ...children) =>
  filled(document.createElement(tag), attributes, children);

/** An SVG element, in the same way. */
export const svg = (tag, attributes, ...children) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

export const clamp = (value, least, most) => Math.max(least, Math.min(most, value));
export const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** A probability or weight with two digits; 0 and 1 are written only where they are exact. */
export function share(value) {
  if (Number.isNaN(value)) return "–";
  if (value > 0 && value < 0.005) return "<.01";
  if (value < 1 && value >= 0.995) return ">.99";
  return value === 1 ? "1" : value.toFixed(2).replace(/^0/, "");
}

/** A number with at most two decimals. */
export const brief = (value) => (Number.isNaN(value) ? "–" : String(Math.round(value * 100) / 100));

/** Cividis from 0 to 1 as [r, g, b]. */
export function cividis(amount) {
  const stops = PALETTE.cividis;
  const at = clamp(amount, 0, 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const channel = (stop, i) => parseInt(stops[stop].slice(1 + 2 * i, 3 + 2 * i), 16);
  return [0, 1, 2].map((i) =>
    Math.round(channel(low, i) + (at - low) * (channel(low + 1, i) - channel(low, i)))
  );
}

/** A packed array {dtype, shape, bytes} as a typed array with its shape. */
export function unpack({ dtype, shape, bytes }) {
  const kinds = {
    uint8: Uint8Array,
    int8: Int8Array,
    uint16: Uint16Array,
    int16: Int16Array,
    int32: Int32Array,
    float32: Float32Array
  };
  // A copy: what came over the wire need not lie at a multiple of the item's size.
  const copied = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  return Object.assign(new kinds[dtype](copied), { shape });
}

/** The offset of each owner's rows, and behind them the total. */
export function starts(counts, extra = 0) {
  const begin = new Int32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) begin[i + 1] = begin[i] + counts[i] + extra;
  return begin;
}

/** Make Tab reach one button of a row and the arrows the others; pick(i) is called with the new one. */
export function roving(host, row, pick) {
  host.listen(row, "keydown", (event) => {
    const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const buttons = [...row.querySelectorAll("button")];
    const now = buttons.indexOf(event.target);
    if (!turn || now < 0) return;
    event.preventDefault();
    const next = clamp(now + turn, 0, buttons.length - 1);
    buttons[next].focus();
    pick(next);
  });
}
