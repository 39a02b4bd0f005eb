// The page's clock: all frames so far, where the playhead is, and how it moves. It never waits for the server to
// play, pause or scrub. Frames are counted at 30 a second.
import { ROW } from "live-page/scene.js";

export const FPS = 30;
const JITTER = 6;                  // frames that must be there before a stalled playhead moves on

export class Player {
  constructor() {
    this.rows = new Float32Array(ROW * 1024);
    this.clear();
    Object.assign(this, { rate: 1, playing: true, mark: null, loop: false, stalled: 0, played: 0 });
  }

  clear() {
    Object.assign(this, { edge: 0, head: 0, over: true, waiting: true, resting: true });
  }

  // Frames from the server: the number of the first, then ROW floats each.
  receive(buffer) {
    const first = new DataView(buffer).getUint32(0, true), rows = new Float32Array(buffer.slice(4));
    const edge = first + rows.length / ROW;
    if (first > this.edge) return;               // a part is missing: it comes again on reconnecting
    while (edge * ROW > this.rows.length) {
      const larger = new Float32Array(2 * this.rows.length);
      larger.set(this.rows);
      this.rows = larger;
    }
    this.rows.set(rows, first * ROW);
    this.edge = Math.max(this.edge, edge);
  }

  // What came from this frame on is no more.
  cut(frame) {
    this.edge = Math.min(this.edge, frame);
    this.head = Math.max(0, Math.min(this.head, frame - 1));
  }

  row(frame) {
    return this.rows.subarray(frame * ROW, (frame + 1) * ROW);
  }

  seek(frame) {
    this.head = Math.max(0, Math.min(frame, this.edge - 1));
    this.waiting = false;
  }

  step(frames) {
    this.playing = false;
    this.seek(Math.round(this.head) + frames);
  }

  // Move on by `seconds` of the wall clock.
  tick(seconds) {
    if (!this.playing || !this.edge) return;
    this.resting ||= this.atEnd;
    const last = this.edge - 1, [from, to] = this.loop ? this.mark ?? [0, last] : [0, last];
    if (this.waiting && !this.over && this.edge - this.head < JITTER) return this.stall(seconds);
    this.waiting = this.resting &&= this.atEnd;
    this.head += seconds * FPS * this.rate;
    if (this.loop && this.head > Math.min(to, last) && (this.over || to < last)) this.head = from;
    if (this.loop && this.rate < 0 && this.head < from) this.head = Math.min(to, last);
    if (this.head < 0) Object.assign(this, { head: 0, playing: false, rate: 1 });
    if (this.head <= last) {
      this.played += seconds;
      return;
    }
    const short = (this.head - last) / FPS / this.rate;
    this.head = last;
    this.played += seconds;
    if (this.over) return;
    this.waiting = true;
    if (!this.resting) this.stalled += short;
  }

  // Nothing to show although it plays; who was at rest may take its time to begin.
  stall(seconds) {
    if (this.resting) return;
    this.played += seconds;
    this.stalled += seconds;
  }

  get underruns() {
    return this.played ? this.stalled / this.played : 0;
  }

  get atEnd() {
    return this.over && this.head >= this.edge - 1;
  }
}

// The colour of the prompt with this number.
const COLOURS = ["#e8704f", "#3b87bd", "#56a37a", "#a971b5", "#d3a03c", "#4fa3a8", "#c65d72", "#7b7ecb"];
export const colour = (number) => COLOURS[number % COLOURS.length];
