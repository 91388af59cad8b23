// One window's candidates under the unit times and slots of the moment: moespac_nb.balancer's tables, and the
// choices that need no search. The joint program's thresholds come from the kernel.

/** What a solver's arithmetic cannot tell from kept, as a share of the largest time. */
const TOLERANCE = 1e-6;

export class Candidates {
  /** cpu, gpu: seconds, hot, loads: experts, all layers x levels; residents: of them that are hot, by level. */
  constructor(given) {
    Object.assign(this, given);
    this.total = this.cpu.map((seconds, i) => Math.max(seconds, this.gpu[i]));
    this.tolerance = TOLERANCE * (Math.max(...this.total, this.copy, this.draft) || 1);
    this.window = this.draft / this.layers + this.dense; // what a layer's copies hide behind, were it alone
  }

  at(layer, tau) {
    return layer * this.levels + tau - 1;
  }

  sum(amounts, taus) {
    return taus.reduce((sum, tau, layer) => sum + amounts[this.at(layer, tau)], 0);
  }

  /** What one layer's candidate breaks if each layer stands alone: { slots, link }. */
  alone(layer, tau) {
    const i = this.at(layer, tau);
    const room = this.slots - this.residents[tau - 1];
    const late = this.loads[i] * this.copy - this.total[i] - this.window;
    return { slots: this.loads[i] > room, link: late > this.tolerance };
  }

  /** Each layer's best feasible threshold by a cost (layer, tau); of equal ones the highest. */
  perLayer(cost) {
    return Array.from({ length: this.layers }, (_, layer) => {
      let best = this.levels;
      let least = Infinity;
      for (let tau = this.levels; tau >= 1; tau--) {
        const broken = this.alone(layer, tau);
        const now = cost(this.at(layer, tau));
        // Times come in 32 bits: what differs by less is equal.
        if (broken.slots || broken.link || now >= least - this.tolerance) continue;
        [best, least] = [tau, now];
      }
      return best;
    });
  }

  byMax() {
    return this.perLayer((i) => this.total[i]);
  }

  byDifference() {
    return this.perLayer((i) => Math.abs(this.cpu[i] - this.gpu[i]));
  }

  /** What thresholds for all layers together take and break; slack: the link's, where each layer begins. */
  jointly(taus) {
    const slack = new Float64Array(this.layers);
    let begins = this.draft;
    let copied = 0;
    taus.forEach((tau, layer) => {
      const i = this.at(layer, tau);
      copied += this.loads[i] * this.copy;
      slack[layer] = begins + this.dense - copied;
      begins += this.total[i] + this.dense;
    });
    const hot = this.sum(this.hot, taus);
    const tightest = slack.indexOf(Math.min(...slack));
    const late = slack.findIndex((left) => left < -this.tolerance);
    return { seconds: this.sum(this.total, taus), hot, slots: hot > this.slots, late, slack, tightest };
  }

  /** What one layer's candidate breaks while all other layers keep theirs. */
  switched(taus, layer, tau) {
    const found = this.jointly(taus.map((own, other) => (other === layer ? tau : own)));
    return { slots: found.slots, link: found.late >= 0 };
  }

  /** What keeps some layer from a faster threshold: { slots, link }. */
  binding(taus) {
    const keeps = { slots: false, link: false };
    taus.forEach((own, layer) => {
      for (let tau = 1; tau <= this.levels; tau++) {
        if (this.total[this.at(layer, own)] - this.total[this.at(layer, tau)] <= this.tolerance) continue;
        const broken = this.switched(taus, layer, tau);
        keeps.slots ||= broken.slots;
        keeps.link ||= broken.link;
      }
    });
    return keeps;
  }
}
