// How many threads Tensor.from of large data starts, and how many the first large operation.
import { readdirSync } from "node:fs";
import { Tensor } from "../../../dist/index.js";

const count = () => readdirSync("/proc/self/task").length;
await Tensor.from([1], [1]).add(1).item();
const before = count();
const large = Tensor.from(new Float32Array(1 << 20), [1 << 20]);
const after = count();
await large.add(1).settled();
console.log(JSON.stringify({ copying: after - before, computing: count() - after }));
