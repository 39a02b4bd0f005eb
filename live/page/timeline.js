// The timeline: what was asked when, in colours; the playhead; what waits; what is marked; all of it in a thin line.
import { FPS, colour } from "live-page/player.js";

const HELD = 4;                    // seconds of what waits and does not say how long, as in session.py
const THUMB = matchMedia("(pointer: coarse)").matches;
const RULER = THUMB ? 26 : 16, BAR = THUMB ? 38 : 30, GAP = 6, WHOLE = 6;
export const HEIGHT = RULER + BAR + GAP + WHOLE;
const INK = "#28313f", PALE = "#8a95a5", GIVEN = "#9aa5b4";

export class Timeline {
  constructor(canvas, player) {
    Object.assign(this, { canvas, player, prompts: [], waiting: [], start: 0, fixed: 0, onMark: () => {} });
    this.span = (canvas.clientWidth < 500 ? 10 : 20) * FPS;
    canvas.style.height = `${HEIGHT}px`;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag?.(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => this.release());
    canvas.addEventListener("wheel", (event) => this.zoom(event), { passive: false });
  }

  // The prompt that holds at a frame: its number, or -1.
  at(frame) {
    return this.prompts.findLastIndex(([first]) => first <= frame);
  }

  get end() {
    return this.player.edge + this.waiting.reduce((sum, [, seconds]) => sum + (seconds ?? HELD) * FPS, 0);
  }

  frame(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.start + this.span * (event.clientX - box.left) / box.width;
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    const box = this.canvas.getBoundingClientRect(), y = event.clientY - box.top, from = this.frame(event);
    if (y > RULER + BAR + GAP / 2) {
      this.drag = ({ clientX }) => this.player.seek(this.end * (clientX - box.left) / box.width);
    } else if (y < RULER || event.shiftKey) {
      this.drag = (moved) => this.setMark(from, this.frame(moved));
      return;
    } else {
      this.drag = (moved) => this.player.seek(this.frame(moved));
    }
    this.held = this.player.playing;
    this.player.playing = false;
    this.drag(event);
  }

  release() {
    if (this.drag && this.held !== undefined) this.player.playing = this.held;
    if (this.drag && this.player.mark && this.player.mark[1] - this.player.mark[0] < 3) this.setMark(null);
    this.drag = this.held = undefined;
  }

  setMark(from, to) {
    const inside = (frame) => Math.round(Math.max(0, Math.min(frame, this.player.edge - 1)));
    this.player.mark = from === null ? null : [inside(Math.min(from, to)), inside(Math.max(from, to))];
    this.onMark(this.player.mark);
  }

  zoom(event) {
    event.preventDefault();
    const held = this.frame(event), share = (held - this.start) / this.span;
    this.span = Math.max(4 * FPS, Math.min(this.span * Math.exp(event.deltaY * 0.002), 600 * FPS));
    this.start = Math.max(0, held - share * this.span);
    this.fixed = performance.now();
  }

  // Keep the playhead in sight, unless someone just zoomed.
  follow() {
    if (this.drag || performance.now() - this.fixed < 1500) return;
    const most = Math.max(0, this.end - 0.9 * this.span), wanted = this.player.head - 0.6 * this.span;
    const inSight = this.player.head > this.start && this.player.head < this.start + 0.62 * this.span;
    const target = Math.max(0, inSight ? Math.min(this.start, most) : Math.min(wanted, most));
    this.start += (target - this.start) * (Math.abs(target - this.start) > this.span ? 1 : 0.2);
  }

  draw() {
    const { canvas, player } = this, ratio = Math.min(window.devicePixelRatio, 2);
    const width = canvas.clientWidth, g = canvas.getContext("2d");
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== HEIGHT * ratio) canvas.height = HEIGHT * ratio;
    this.follow();
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, HEIGHT);
    const x = (frame) => (frame - this.start) / this.span * width;
    this.drawRuler(g, x, width);
    g.save();
    g.beginPath();
    g.roundRect(0, RULER, width, BAR, 8);
    g.clip();
    g.fillStyle = "#e6eaf0";
    g.fillRect(0, RULER, width, BAR);
    const ends = [...this.prompts.slice(1).map(([first]) => first), player.edge];
    this.prompts.forEach(([first, text, given], number) => {
      const now = player.head >= first && player.head < ends[number];
      this.block(g, x(first), x(ends[number]), text, given ? GIVEN : colour(number), now ? 1 : 0.72);
    });
    g.fillStyle = "rgb(255 255 255 / 45%)";                          // made, and not seen yet
    if (player.edge) g.fillRect(x(player.head), RULER, x(player.edge) - x(player.head), BAR);
    let begin = player.edge;
    this.waiting.forEach(([text, seconds], number) => {
      const end = begin + (seconds ?? HELD) * FPS;
      this.ghost(g, x(begin), x(end), text, colour(this.prompts.length + number));
      begin = end;
    });
    g.restore();
    this.drawMark(g, x);
    this.drawWhole(g, width);
    if (player.edge) this.drawHead(g, x(player.head));
  }

  block(g, from, to, text, tint, strength) {
    g.globalAlpha = strength;
    g.fillStyle = tint;
    g.fillRect(from, RULER, Math.max(to - from - 1.5, 1), BAR);
    g.globalAlpha = 1;
    this.label(g, from, to, text, "#fff");
  }

  ghost(g, from, to, text, tint) {
    g.strokeStyle = tint;
    g.setLineDash([4, 3]);
    g.strokeRect(from + 1.5, RULER + 1.5, to - from - 4, BAR - 3);
    g.setLineDash([]);
    this.label(g, from, to, text, tint);
  }

  label(g, from, to, text, ink) {
    const left = Math.max(from, 0) + 9, room = Math.min(to, this.canvas.clientWidth) - left - 6;
    if (room < 26) return;
    g.font = "500 12.5px system-ui, sans-serif";
    g.fillStyle = ink;
    g.textBaseline = "middle";
    g.fillText(shortened(g, text, room), left, RULER + BAR / 2 + 0.5);
  }

  drawRuler(g, x, width) {
    const seconds = this.span / FPS, steps = [1, 2, 5, 10, 30, 60, 120];
    const every = steps.find((one) => width * one / seconds > 56) ?? 300;
    g.font = "10.5px system-ui, sans-serif";
    g.textBaseline = "alphabetic";
    g.fillStyle = PALE;
    for (let at = Math.ceil(this.start / FPS / every) * every; at * FPS < this.start + this.span; at += every) {
      g.fillRect(x(at * FPS), RULER - 4, 1, 3);
      const text = at >= 60 ? `${Math.floor(at / 60)}:${String(at % 60).padStart(2, "0")}` : `${at} s`;
      g.fillText(text, x(at * FPS) + 3, RULER - 5);
    }
  }

  drawMark(g, x) {
    if (!this.player.mark) return;
    const [from, to] = this.player.mark.map(x);
    g.fillStyle = "rgb(40 49 63 / 14%)";
    g.fillRect(from, RULER - 5, to - from, BAR + 8);
    g.fillStyle = INK;
    g.fillRect(from - 1, RULER - 5, 2, BAR + 8);
    g.fillRect(to - 1, RULER - 5, 2, BAR + 8);
  }

  drawWhole(g, width) {
    const top = RULER + BAR + GAP, x = (frame) => this.end ? frame / this.end * width : 0;
    if (this.end <= this.span && !this.start) return;
    g.fillStyle = "#e6eaf0";
    g.fillRect(0, top, width, WHOLE - 2);
    this.prompts.forEach(([first, , given], number) => {
      g.fillStyle = given ? GIVEN : colour(number);
      g.fillRect(x(first), top, x((this.prompts[number + 1] ?? [this.player.edge])[0]) - x(first), WHOLE - 2);
    });
    g.strokeStyle = INK;
    g.strokeRect(x(this.start) + 0.5, top - 1.5, Math.min(x(this.span), width - x(this.start)) - 1, WHOLE + 1);
    g.fillStyle = INK;
    g.fillRect(x(this.player.head) - 1, top - 2, 2, WHOLE + 2);
  }

  drawHead(g, at) {
    g.fillStyle = INK;
    g.fillRect(at - 1, RULER - 3, 2, BAR + 6);
    g.beginPath();
    g.arc(at, RULER - 3, 4, 0, 7);
    g.fill();
  }
}

// As much of a text as there is room for.
function shortened(g, text, room) {
  if (g.measureText(text).width <= room) return text;
  let end = text.length;
  while (end && g.measureText(`${text.slice(0, end)}…`).width > room) end--;
  return `${text.slice(0, end).trimEnd()}…`;
}
