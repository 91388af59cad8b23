// One result's operations, lane by lane in the order of time, and what is asked of them.
import { starts, unpack } from "../../front/dom.js";

/** The first of `from` to `to` at which `later` holds. */
export function halve(from, to, later) {
  while (from < to) {
    const middle = (from + to) >> 1;
    if (later(middle)) to = middle;
    else from = middle + 1;
  }
  return from;
}

/** What was packed of one result, and what is asked of it. Times are in ticks; */
export class Run {
  constructor(packed) {
    Object.assign(this, packed);
    for (const name of [
      "begin",
      "length",
      "what",
      "size",
      "windows",
      "wait_begin",
      "wait_length",
      "wait_is_copy"
    ])
      this[name] = unpack(packed[name]);
    this.from = starts(packed.lane_counts);
    this.count = this.windows.length / 2;
  }

  /** The place of a lane's first operation that ends after a time. */
  after(lane, time) {
    return halve(this.from[lane], this.from[lane + 1], (i) => this.begin[i] + this.length[i] > time);
  }

  window(step) {
    return step < this.count ? [this.windows[2 * step], this.windows[2 * step + 1]] : null;
  }

  /** How long, between two times, a copy was waited for and the CPU lane alone computed. */
  waited(begin, end) {
    const sums = { copy: 0, cpu: 0 };
    const n = this.wait_begin.length;
    for (
      let i = halve(0, n, (j) => this.wait_begin[j] + this.wait_length[j] > begin);
      i < n && this.wait_begin[i] < end;
      i++
    ) {
      const part =
        Math.min(end, this.wait_begin[i] + this.wait_length[i]) - Math.max(begin, this.wait_begin[i]);
      sums[this.wait_is_copy[i] ? "copy" : "cpu"] += part;
    }
    return sums;
  }
}
