// The page's own part: scene, clock and timeline put together, the websocket, keys and buttons.
import { World } from "live-page/scene.js";
import { Player, FPS, colour } from "live-page/player.js";
import { Timeline } from "live-page/timeline.js";

const LINES = 30;                  // ms between two drawings of the timeline, at least
const REPORT = 100;                // ms between two reports of the playhead
const PATH = 6 * FPS;              // frames of the root's path on the floor
const GONE = 4404, OTHER = 4409;   // the server knows this page no more; another websocket took this one's place
const NARROW = matchMedia("(max-width: 900px)");
const RATES = [0.25, 0.5, 1, 2];
const TYPES = { vertices: Float32Array, normals: Float32Array, weights: Float32Array, rest: Float32Array,
                faces: Uint16Array, colours: Uint8Array, joints: Uint8Array };

export default {
  props: { page: String, body: String, socket: String },
  emits: ["mark"],
  template: `
    <div class="live">
      <div class="live-view"><canvas class="live-canvas"></canvas></div>
      <div class="live-now" v-if="now" aria-live="polite">
        <i :style="{ background: now.colour }"></i>{{ now.text }}
      </div>
      <div class="live-banner" v-if="banner">{{ banner }}</div>
      <div class="live-views" role="group" aria-label="camera">
        <button v-for="name in views" :class="{ on: view === name }" @click="setView(name)">{{ name }}</button>
        <span></span>
        <button :class="{ on: skeleton }" @click="setSkeleton()" title="show the 22 joints">skeleton</button>
      </div>
      <div class="live-side"><slot name="side"></slot></div>
      <div class="live-dock" ref="dock">
        <slot></slot>
        <canvas class="live-timeline" tabindex="0" aria-label="timeline: drag to scrub, drag its ruler to mark">
        </canvas>
        <div class="live-transport">
          <q-btn flat round dense icon="skip_previous" @click="seek(0)" title="to the start (r plays from there)"/>
          <q-btn flat round dense :icon="playing ? 'pause' : 'play_arrow'" class="live-play" @click="toggle()"
                 title="space"/>
          <q-btn flat round dense icon="skip_next" @click="seek(1e9)" title="to the newest frame"/>
          <button class="live-rate" @click="nextRate()" title="speed; j, k, l">{{ rate }}×</button>
          <q-btn flat round dense icon="repeat" :color="loop ? 'primary' : undefined" @click="toggleLoop()"
                 title="loop what is marked, or all"/>
          <span class="live-time">{{ time }}</span>
          <slot name="marked"></slot>
          <span class="live-numbers" :title="explained">{{ numbers }}</span>
        </div>
      </div>
    </div>`,

  data: () => ({ now: null, banner: "", views: ["follow", "orbit", "front", "side", "top"], view: "follow",
                 skeleton: false, playing: true, rate: 1, loop: false, time: "0.0 s", numbers: "",
                 explained: "frames a second made / shown; time from a prompt to its first frame, and to its first "
                   + "visible frame; seconds made ahead; share of time without a frame to show; load of the thread "
                   + "that makes frames" }),

  async mounted() {
    const body = await (await fetch(this.body)).json();
    for (const [name, type] of Object.entries(TYPES)) {
      body[name] = new type(Uint8Array.from(atob(body[name]), (letter) => letter.charCodeAt(0)).buffer);
    }
    const find = (name) => this.$el.querySelector(name);
    this.player = new Player();
    this.world = new World(find(".live-canvas"), body);
    this.timeline = new Timeline(find(".live-timeline"), this.player);
    this.timeline.onMark = (mark) => this.$emit("mark", mark);
    this.made = [];
    this.seen = { frames: 0, since: performance.now(), shown: 0 };
    this.told = { load: 0 };
    this.resizing = new ResizeObserver(() => this.fit());
    this.resizing.observe(this.$el);
    this.resizing.observe(this.$refs.dock);
    this.onKey = (event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
    this.connect();
    this.reporting = setInterval(() => this.report(), REPORT);
    this.last = this.lined = performance.now();
    window.live = this;            // for tests, and for the curious
    this.fit();
    this.draw();
  },

  beforeUnmount() {
    this.left = true;
    clearInterval(this.reporting);
    cancelAnimationFrame(this.drawing);
    document.removeEventListener("keydown", this.onKey);
    this.resizing?.disconnect();
    this.ws?.close();
    this.world?.dispose();
  },

  methods: {
    connect() {
      const query = new URLSearchParams({ page: this.page, have: this.player.edge, cuts: this.cuts ?? 0 });
      this.ws = new WebSocket(`${location.origin.replace(/^http/, "ws")}${this.socket}?${query}`);
      this.ws.binaryType = "arraybuffer";
      this.ws.onopen = () => { this.banner = this.reported = ""; };
      this.ws.onmessage = ({ data }) => (typeof data === "string" ? this.hear(JSON.parse(data)) : this.receive(data));
      const own = this.ws;
      own.onclose = ({ code }) => {
        if (this.left || own !== this.ws) return;
        if (code === GONE) return location.reload();
        if (code === OTHER) return void (this.banner = "This page is open elsewhere: reload it to have it here.");
        this.banner = "Reconnecting …";
        setTimeout(() => this.connect(), 500);
      };
    },

    receive(data) {
      const before = this.player.edge;
      this.player.receive(data);
      this.made.push([performance.now(), Math.max(this.player.edge - before, 0)]);
    },

    hear(message) {
      if ("cut" in message) {
        this.player.cut(message.cut);
        this.cuts = message.cuts;
        if (this.asked) this.changeAt = message.cut;
        if (message.cut === 0) Object.assign(this.player, { waiting: true, resting: true });
      }
      if ("seek" in message) this.player.seek(message.seek);
      if (message.prompts) {
        Object.assign(this.timeline, { prompts: message.prompts, waiting: message.waiting });
        this.player.over = message.over;
        if (this.player.mark && this.player.mark[1] >= Math.max(this.player.edge, 1)) this.timeline.setMark(null);
        if (this.asked && message.prompts.length) this.changeAt ??= message.prompts.at(-1)[0];
        const query = new URLSearchParams(message.link ? { plan: message.link } : {});
        history.replaceState(history.state, "", location.pathname + (message.link ? `?${query}` : ""));
      }
      if ("latency" in message) this.told.latency = message.latency;
      if ("load" in message) this.told.load = message.load;
      if ("place" in message) {
        const taken = `All ${message.seats} places are taken. Yours is number ${message.place} in the queue.`;
        this.banner = message.place ? taken : "";
      }
    },

    report() {
      const { head, rate, waiting } = this.player, rest = !this.player.playing || waiting || this.player.atEnd;
      const told = `{"frame": ${head.toFixed(2)}, "rate": ${rest ? 0 : rate * FPS}}`;
      if (told === this.reported || this.ws.readyState !== WebSocket.OPEN) return;
      this.ws.send(told);
      this.reported = told;
    },

    draw() {
      this.drawing = requestAnimationFrame(() => this.draw());
      const time = performance.now(), seconds = Math.min((time - this.last) / 1000, 1);
      this.last = time;
      const before = this.player.head;
      this.player.tick(seconds);
      this.seen.frames += Math.floor(this.player.head) !== Math.floor(before);
      this.show();
      this.world.render(seconds);
      if (time - this.lined > LINES) {
        this.timeline.draw();
        this.lined = time;
      }
      if (this.changeAt !== undefined && this.player.edge > this.changeAt && this.player.head >= this.changeAt) {
        this.told.visible = (time - this.asked) / 1000;
        this.asked = this.changeAt = undefined;
      }
      if (time - this.seen.shown > 200) this.showNumbers(time);
    },

    show() {
      const { player, world, timeline } = this, at = Math.floor(player.head);
      const number = player.edge ? timeline.at(player.head) : -1, prompt = timeline.prompts[number];
      const text = prompt?.[1];
      if (text !== this.now?.text || prompt && this.now?.number !== number) {
        this.now = text ? { text, number, colour: prompt[2] ? "#9aa5b4" : colour(number) } : null;
      }
      if (!player.edge) return world.setPose(world.rest, world.rest, 0);
      const next = Math.min(at + 1, player.edge - 1);
      world.jump = Math.hypot(player.row(at)[0] - world.aim.x, player.row(at)[2] - world.aim.z) > 2.5;
      world.setPose(player.row(at), player.row(next), player.head - at);
      const points = [];
      for (let frame = Math.max(0, at - PATH); frame <= at; frame += 2) {
        const row = player.row(frame), asked = timeline.at(frame);
        points.push([row[0], row[2], timeline.prompts[asked]?.[2] || asked < 0 ? "#9aa5b4" : colour(asked)]);
      }
      world.setPath(points);
    },

    showNumbers(time) {
      const { player, seen, told } = this, seconds = (time - seen.since) / 1000;
      this.made = this.made.filter(([then]) => time - then < 2000);
      const made = this.made.reduce((sum, [, frames]) => sum + frames, 0) / 2;
      const ahead = Math.max(player.edge - 1 - player.head, 0) / FPS;
      if (seconds > 1) Object.assign(seen, { rate: seen.frames / seconds, frames: 0, since: time });
      seen.shown = time;
      const ms = (value) => (value === undefined ? "–" : `${Math.round(1000 * value)} ms`);
      Object.assign(this, { playing: player.playing, loop: player.loop, rate: player.rate });
      this.time = `${(player.head / FPS).toFixed(1)} / ${(player.edge / FPS).toFixed(1)} s`;
      this.numbers = `${made.toFixed(0)} / ${(seen.rate ?? 0).toFixed(0)} fps · prompt ${ms(told.latency)}, `
        + `seen ${ms(told.visible)} · ahead ${ahead.toFixed(1)} s · underruns ${(100 * player.underruns).toFixed(1)}% · `
        + `load ${Math.round(100 * told.load)}%`;
    },

    fit() {
      const dock = this.$refs.dock;
      if (!this.world || !dock) return;
      document.documentElement.style.setProperty("--dock", `${dock.offsetHeight}px`);
      this.world.resize();
      const [top, bottom] = NARROW.matches ? [104, 58] : [66, 24];
      this.world.setCovered(top, dock.offsetHeight + bottom);
    },

    toggle() {
      const { player } = this;
      if (!player.playing && player.atEnd && !player.loop) player.seek(player.mark?.[0] ?? 0);
      if (!player.playing && player.rate < 0) player.rate = 1;
      player.playing = !player.playing;
      this.playing = player.playing;
    },
    seek(frame) { this.player.seek(frame); },
    play(rate) { Object.assign(this.player, { rate, playing: true }); },
    nextRate() { this.player.rate = RATES[(RATES.indexOf(this.player.rate) + 1) % RATES.length]; },
    toggleLoop() { this.player.loop = this.loop = !this.player.loop; },
    toggleSide() { this.$el.querySelector(".live-side").classList.toggle("open"); },
    unmark() { this.timeline.setMark(null); },
    setView(name) { this.view = name; this.world.setView(name); },
    setSkeleton() { this.skeleton = !this.skeleton; this.world.setSkeleton(this.skeleton); },

    key(event) {
      const typing = event.target.closest?.("input, textarea, [contenteditable]");
      if (typing && event.key === "Enter" && event.target.closest(".live-text")) this.asked = performance.now();
      if (typing && event.key === "Escape") typing.blur();
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const { player } = this, far = event.shiftKey ? FPS : 1;
      const keys = {
        " ": () => this.toggle(), ArrowLeft: () => player.step(-far), ArrowRight: () => player.step(far),
        j: () => this.play(player.playing && player.rate < 0 ? player.rate * 2 : -1),
        k: () => { player.playing = false; },
        l: () => this.play(player.playing && player.rate >= 1 ? Math.min(player.rate * 2, 4) : 1),
        r: () => { player.seek(0); this.play(1); },
        i: () => this.timeline.setMark(player.head, player.mark?.[1] ?? player.edge),
        o: () => this.timeline.setMark(player.mark?.[0] ?? 0, player.head), Escape: () => this.timeline.setMark(null),
        "/": () => document.querySelector(".live-text input")?.focus(),
      };
      if (!keys[event.key] || event.target.closest?.(".live-drawer, .q-menu, .q-dialog")) return;
      event.preventDefault();
      if (event.target.closest?.("button")) event.target.blur();
      keys[event.key]();
    },
  },
};
