// node validate.mjs FILE...: Khronos' validator; prints its messages as JSON, {file: [{code, message, severity}]}.
import { readFileSync } from "fs";
import validator from "gltf-validator";

const found = {};
for (const file of process.argv.slice(2)) {
  const report = await validator.validateBytes(new Uint8Array(readFileSync(file)));
  found[file] = report.issues.messages;
}
console.log(JSON.stringify(found));
