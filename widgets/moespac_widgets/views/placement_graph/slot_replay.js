// The slots of a replay at any moment, put together again from its moves; a state every few windows is kept,
// so that going back costs as little as going on.
const KEPT_EVERY = 32;
const NOBODY = -1;

export class Slots {
  /** moves: columns window, moment, came, slot, key, … in the order in which they happened. */
  constructor(moves, slots, keys) {
    Object.assign(this, { moves, slots, keys, marks: [] });
    this.count = moves.window.length;
    this.clear();
    for (let i = 0, next = 0; i < this.count; i++) {
      if (moves.window[i] >= next) {
        this.marks.push({ at: i, owner: this.owner.slice(), loading: this.loading.slice() });
        next = moves.window[i] + KEPT_EVERY;
      }
      this.apply(i);
    }
    this.at = this.count;
  }

  clear() {
    this.owner = new Int32Array(this.slots).fill(NOBODY); // by slot: a key, layer * experts + expert
    this.loading = new Uint8Array(this.slots);
    this.at = 0;
  }

  apply(i) {
    const slot = this.moves.slot[i];
    this.owner[slot] = this.moves.key[i];
    this.loading[slot] = this.moves.came[i] ? 0 : 1;
  }

  /** How many moves have happened once this moment of a window is over. */
  until(window, moment) {
    const { moves } = this;
    let low = 0;
    for (let high = this.count; low < high; ) {
      const middle = (low + high) >> 1;
      if (
        moves.window[middle] < window ||
        (moves.window[middle] === window && moves.moment[middle] <= moment)
      )
        low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Go to where so many moves have happened; `where` then says of each key its slot, or -1. */
  go(until) {
    if (until < this.at) {
      const mark = this.marks.findLast(({ at }) => at <= until);
      this.clear();
      if (mark)
        Object.assign(this, { at: mark.at, owner: mark.owner.slice(), loading: mark.loading.slice() });
    }
    while (this.at < until) this.apply(this.at++);
    this.where = new Int32Array(this.keys).fill(NOBODY);
    this.owner.forEach((key, slot) => {
      if (key !== NOBODY) this.where[key] = slot;
    });
  }

  /** The last of so many moves that did something to a key: it was copied, or had to go; -1 for none. */
  last(column, key, until) {
    for (let i = until - 1; i >= 0; i--) {
      if (this.moves[column][i] === key && !this.moves.came[i]) return i;
    }
    return -1;
  }
}
