// node play.mjs TIMES VRMA VRM: plays the animation on the humanoid by three-vrm's loaders, GLB VRM: the GLB's own clip.
// Prints JSON, for each of the times (JSON, seconds): {bone: {turn: world quaternion x y z w, place: world x y z}}.
import { readFileSync } from "fs";
import { AnimationMixer, LoopOnce, Quaternion, Vector3 } from "three";
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
import { VRMLoaderPlugin } from "@pixiv/three-vrm";
import { VRMAnimationLoaderPlugin, createVRMAnimationClip } from "@pixiv/three-vrm-animation";

globalThis.self ??= globalThis; // three.js looks for the browser's
const loader = new GLTFLoader();
loader.register((parser) => new VRMLoaderPlugin(parser));
loader.register((parser) => new VRMAnimationLoaderPlugin(parser));

function load(file) {
  const bytes = readFileSync(file);
  return loader.parseAsync(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength), "");
}

const [times, animated, model] = process.argv.slice(2);
const scene = await load(model ?? animated);
const vrm = scene.userData.vrm;
const clip = vrm ? createVRMAnimationClip((await load(animated)).userData.vrmAnimations[0], vrm) : scene.animations[0];
const mixer = new AnimationMixer(scene.scene);
const action = mixer.clipAction(clip).setLoop(LoopOnce);
action.clampWhenFinished = true; // else the last frame is the first
const bones = {};
scene.scene.traverse((node) => { if (node.isBone) bones[node.userData.name ?? node.name] = node; });
const found = [];
for (const time of JSON.parse(times)) {
  action.reset().play();
  mixer.setTime(time);
  vrm?.update(0);
  scene.scene.updateMatrixWorld(true);
  found.push(Object.fromEntries(Object.entries(bones).map(([name, bone]) => [name, {
    turn: bone.getWorldQuaternion(new Quaternion()).toArray(), place: bone.getWorldPosition(new Vector3()).toArray() }])));
}
console.log(JSON.stringify(found));
