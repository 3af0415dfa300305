// truncate-loaded.mjs FILE HOW: loads a safetensors file, "mapped" or "copied", truncates it, and sums its elements.
import { truncateSync } from "node:fs";
import { safetensors } from "../../../dist/index.js";

const [path, how] = process.argv.slice(2);
const tensors = await safetensors.load(path, { mapped: how === "mapped" });
console.log("loaded");
truncateSync(path);
for (const tensor of tensors.values()) console.log(await tensor.sum().item());
