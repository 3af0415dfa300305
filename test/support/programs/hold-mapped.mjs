// hold-mapped.mjs FILE: maps a safetensors file, touches every element, prints their sum, and waits to be ended.
import { safetensors } from "../../../dist/index.js";

const tensors = await safetensors.load(process.argv[2]);
let sum = 0;
for (const tensor of tensors.values()) sum += await tensor.sum().item();
console.log(sum);
setInterval(() => tensors.size, 60_000);
