// What is seen: the body, the floor with its grid and shadow, the path, the cameras. Metres, y up.
import { THREE, OrbitControls } from "nicegui-scene";

const SKY = 0xeef1f5, FLOOR = 0xf7f9fb, LINE = 0xc3ccd8;
const LEFT = 0xee6c4d, RIGHT = 0x2980b9, MIDDLE = 0x54606f;
const ROW = 91;                    // numbers of a frame: the pelvis' position, then 22 quaternions
const REST_AFTER = 3000;           // ms after the last touch until the camera follows again
const TALL = 2.35, WIDE = 1.7;     // metres that are seen: a body with its arms up, or aside
const AIM = 1.05;                  // metres above the floor that the camera looks at
const VIEWS = {                    // from the character towards the camera, and whether the camera goes with it
  follow: [[2.2, 0.95, 3.7], true], orbit: [[2.2, 0.95, 3.7], false], front: [[0, 0.35, 4.4], true],
  side: [[4.4, 0.35, 0], true], top: [[0, 5.2, 0.01], true],
};

export class World {
  constructor(canvas, body) {
    this.canvas = canvas;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = THREE.PCFSoftShadowMap;
    this.scene = new THREE.Scene();
    this.scene.background = new THREE.Color(SKY);
    this.scene.fog = new THREE.Fog(SKY, 9, 26);
    this.camera = new THREE.PerspectiveCamera(36, 1, 0.05, 80);
    this.controls = new OrbitControls(this.camera, canvas);
    Object.assign(this.controls, { enableDamping: true, dampingFactor: 0.12, minDistance: 1, maxDistance: 14,
                                   maxPolarAngle: 1.53, zoomSpeed: 0.7 });
    this.touched = -1e9;
    this.controls.addEventListener("start", () => { this.touching = true; this.flight = null; });
    this.controls.addEventListener("end", () => { this.touching = false; this.touched = performance.now(); });
    this.addLights();
    this.addFloor();
    this.addBody(body);
    this.addPath();
    this.aim = new THREE.Vector3(0, AIM, 0);
    this.reach = 5;
    this.shift = new THREE.Vector3();
    this.setView("follow", true);
  }

  addLights() {
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0xd5dbe4, 1.7));
    const fill = new THREE.DirectionalLight(0xdfeaff, 0.7);
    fill.position.set(-4, 3, -3);
    this.scene.add(fill);
    this.sun = new THREE.DirectionalLight(0xfff4e6, 2.0);
    this.sun.castShadow = true;
    this.sun.shadow.mapSize.set(1024, 1024);
    this.sun.shadow.radius = 5;
    this.sun.shadow.bias = -0.0006;
    this.sun.shadow.normalBias = 0.02;
    Object.assign(this.sun.shadow.camera, { left: -1.9, right: 1.9, top: 1.9, bottom: -1.9, near: 0.5, far: 9 });
    this.scene.add(this.sun, this.sun.target);
  }

  addFloor() {
    const grid = new THREE.ShaderMaterial({
      transparent: true, depthWrite: false,
      uniforms: { line: { value: new THREE.Color(LINE) }, floor: { value: new THREE.Color(FLOOR) },
                  centre: { value: new THREE.Vector2() } },
      vertexShader: `varying vec2 at; void main() { vec4 world = modelMatrix * vec4(position, 1.0); at = world.xz;
        gl_Position = projectionMatrix * viewMatrix * world; }`,
      fragmentShader: `varying vec2 at; uniform vec3 line, floor; uniform vec2 centre;
        float lines(vec2 p, float wide) { vec2 d = abs(fract(p - 0.5) - 0.5) / fwidth(p); vec2 soft = fwidth(p);
          return (1.0 - min(min(d.x, d.y) / wide, 1.0)) * (1.0 - smoothstep(0.2, 0.7, max(soft.x, soft.y))); }
        void main() { float far = length(at - centre); float near = 1.0 - smoothstep(3.0, 13.0, far);
          float ink = max(0.35 * lines(at * 2.0, 1.1), 0.95 * lines(at, 1.3)) * near;
          gl_FragColor = vec4(mix(floor, line, ink), 1.0 - smoothstep(7.0, 17.0, far));
          #include <colorspace_fragment>
        }`,
    });
    this.floor = new THREE.Mesh(new THREE.PlaneGeometry(60, 60).rotateX(-Math.PI / 2), grid);
    this.floor.position.y = -0.004;
    this.shade = new THREE.Mesh(this.floor.geometry, new THREE.ShadowMaterial({ color: 0x34415a, opacity: 0.3 }));
    this.shade.position.y = -0.002;
    this.shade.receiveShadow = true;
    this.scene.add(this.floor, this.shade);
  }

  addBody(body) {
    this.bones = body.parents.map(() => new THREE.Bone());
    const at = (joint) => new THREE.Vector3().fromArray(body.rest, 3 * joint);
    body.parents.forEach((parent, joint) => {
      if (parent < 0) return this.bones[joint].position.copy(at(joint));
      this.bones[joint].position.copy(at(joint)).sub(at(parent));
      this.bones[parent].add(this.bones[joint]);
    });
    const geometry = new THREE.BufferGeometry(), colour = new THREE.Color(), colours = [];
    for (let place = 0; place < body.colours.length; place += 3) {
      colour.setRGB(...[0, 1, 2].map((channel) => body.colours[place + channel] / 255), THREE.SRGBColorSpace);
      colours.push(colour.r, colour.g, colour.b);
    }
    geometry.setAttribute("position", new THREE.BufferAttribute(body.vertices, 3));
    geometry.setAttribute("normal", new THREE.BufferAttribute(body.normals, 3));
    geometry.setAttribute("color", new THREE.Float32BufferAttribute(colours, 3));
    geometry.setAttribute("skinIndex", new THREE.BufferAttribute(body.joints, 4));
    geometry.setAttribute("skinWeight", new THREE.BufferAttribute(body.weights, 4));
    geometry.setIndex(new THREE.BufferAttribute(body.faces, 1));
    this.skin = new THREE.MeshStandardMaterial({ vertexColors: true, roughness: 0.78, metalness: 0 });
    this.mesh = new THREE.SkinnedMesh(geometry, this.skin);
    this.mesh.castShadow = true;
    this.mesh.frustumCulled = false;
    this.mesh.add(this.bones[0]);
    this.mesh.bind(new THREE.Skeleton(this.bones));
    this.scene.add(this.mesh);
    this.addSticks(body);
    this.rest = restPose(body);
    this.setPose(this.rest, this.rest, 0);
  }

  addSticks(body) {
    this.sticks = [];
    const ball = new THREE.SphereGeometry(0.021, 14, 10), up = new THREE.Vector3(0, 1, 0);
    body.parents.forEach((parent, joint) => {
      const side = body.names[joint].split("_")[0];
      const colour = { left: LEFT, right: RIGHT }[side] ?? MIDDLE;
      const material = new THREE.MeshStandardMaterial({ color: colour, roughness: 0.6 });
      const own = [[this.bones[joint], new THREE.Mesh(ball, material)]];
      if (parent >= 0) {
        const bone = this.bones[joint].position, stick = new THREE.CylinderGeometry(0.008, 0.013, bone.length(), 10);
        const mesh = new THREE.Mesh(stick, material);
        mesh.position.copy(bone).multiplyScalar(0.5);
        mesh.quaternion.setFromUnitVectors(up, bone.clone().normalize());
        own.push([this.bones[parent], mesh]);
      }
      for (const [bone, mesh] of own) {
        mesh.castShadow = true;
        mesh.visible = false;
        bone.add(mesh);
        this.sticks.push(mesh);
      }
    });
  }

  addPath() {
    const paint = new THREE.MeshBasicMaterial({ vertexColors: true, transparent: true, opacity: 0.85, depthWrite: false,
                                               side: THREE.DoubleSide });
    this.path = new THREE.Mesh(new THREE.BufferGeometry(), paint);
    this.path.frustumCulled = false;
    [this.floor, this.shade, this.path].forEach((mesh, place) => { mesh.renderOrder = place; });
    this.scene.add(this.path);
  }

  // Where the root was, [[x, z, "#colour"], ...], oldest first: a ribbon that fades in.
  setPath(points) {
    const places = [], colours = [], corners = [], floor = new THREE.Color(FLOOR), colour = new THREE.Color();
    points.forEach(([x, z, tint], place) => {
      const [before, after] = [points[Math.max(place - 1, 0)], points[Math.min(place + 1, points.length - 1)]];
      const along = Math.hypot(after[0] - before[0], after[1] - before[1]) || 1;
      const [aside, ahead] = [0.02 * (after[1] - before[1]) / along, 0.02 * (after[0] - before[0]) / along];
      places.push(x - aside, 0.003, z + ahead, x + aside, 0.003, z - ahead);
      colour.set(tint).lerp(floor, 0.8 - 0.8 * place / points.length);
      colours.push(colour.r, colour.g, colour.b, colour.r, colour.g, colour.b);
      if (place) corners.push(...[-2, 0, -1, -1, 0, 1].map((corner) => 2 * place + corner));
    });
    this.path.geometry.dispose();
    this.path.geometry = new THREE.BufferGeometry().setIndex(corners);
    this.path.geometry.setAttribute("position", new THREE.Float32BufferAttribute(places, 3));
    this.path.geometry.setAttribute("color", new THREE.Float32BufferAttribute(colours, 3));
  }

  // A frame between two rows of 91 numbers.
  setPose(from, to, share) {
    this.bones[0].position.set(from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1]),
                               from[2] + share * (to[2] - from[2]));
    const end = new THREE.Quaternion();
    this.bones.forEach((bone, joint) => {
      bone.quaternion.fromArray(from, 3 + 4 * joint);
      if (share > 0) bone.quaternion.slerp(end.fromArray(to, 3 + 4 * joint), share);
    });
  }

  // Where the joints are that are seen now, [[x, y, z], ...].
  joints() {
    this.scene.updateMatrixWorld(true);
    return this.bones.map((bone) => new THREE.Vector3().setFromMatrixPosition(bone.matrixWorld).toArray());
  }

  setSkeleton(on) {
    this.sticks.forEach((mesh) => { mesh.visible = on; });
    Object.assign(this.skin, { transparent: on, opacity: on ? 0.16 : 1, depthWrite: !on, needsUpdate: true });
    this.mesh.castShadow = !on;
  }

  setView(name, now = false) {
    this.view = name;
    this.touched = -1e9;
    if (name === "orbit" && !now) return;
    const offset = new THREE.Vector3(...VIEWS[name][0]).setLength(this.reach), from = this.camera.position.clone();
    this.flight = { begun: performance.now() - (now ? 1e6 : 0), from: from.sub(this.aim), offset };
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    if (!width || !height) return;
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
  }

  // Let the whole body be seen between what covers the top of the page and what covers its bottom, in pixels.
  setCovered(top, bottom) {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    if (!width || !height) return;
    this.camera.setViewOffset(width, height, 0, Math.round((bottom - top) / 2), width, height);
    const high = TALL * height / Math.max(height - top - bottom, 80);
    const seen = 2 * Math.tan(this.camera.fov * Math.PI / 360);              // at a distance of 1
    this.reach = Math.min(Math.max(high, WIDE * height / width) / seen, 13);
    if (this.touched < 0) this.setView(this.view, true);
  }

  render(seconds) {
    const root = this.bones[0].position, busy = this.touching || performance.now() - this.touched < REST_AFTER;
    if (VIEWS[this.view][1] && !busy) {
      const ease = 1 - Math.exp(-seconds * 7);     // a runner is half a metre ahead
      this.shift.set(root.x, AIM, root.z).sub(this.aim).multiplyScalar(this.jump ? 1 : ease);
      this.aim.add(this.shift);
      this.camera.position.add(this.shift);
    }
    this.jump = false;
    if (this.flight) {
      const share = Math.min((performance.now() - this.flight.begun) / 600, 1), soft = share * share * (3 - 2 * share);
      this.camera.position.copy(this.flight.from).lerp(this.flight.offset, soft).add(this.aim);
      if (share === 1) this.flight = null;
    }
    this.controls.target.copy(this.aim);
    this.controls.update();
    if (!VIEWS[this.view][1]) this.aim.copy(this.controls.target);
    this.floor.position.x = this.shade.position.x = root.x;
    this.floor.position.z = this.shade.position.z = root.z;
    this.floor.material.uniforms.centre.value.set(root.x, root.z);
    this.sun.target.position.set(root.x, 0.8, root.z);
    this.sun.position.set(root.x + 1.6, 5.2, root.z + 1.9);
    this.renderer.render(this.scene, this.camera);
  }

  dispose() {
    this.controls.dispose();
    this.renderer.dispose();
  }
}

// How the body stands before it is asked anything: arms down.
function restPose(body) {
  const row = new Float32Array(ROW);
  row.set(body.rest.subarray(0, 3));
  const turn = { left_shoulder: -1.2, right_shoulder: 1.2, left_elbow: 0.0, right_elbow: 0.0 };
  body.names.forEach((name, joint) => {
    const angle = turn[name] ?? 0;
    row[3 + 4 * joint + 2] = Math.sin(angle / 2);
    row[3 + 4 * joint + 3] = Math.cos(angle / 2);
  });
  return row;
}

export { ROW };
