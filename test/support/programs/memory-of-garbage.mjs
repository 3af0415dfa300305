// memory-of-garbage.mjs COUNT MIB: makes as many tensors of that size and disposes of none; the peak of the resident
// size, in MiB.
import { Random } from "../../../dist/index.js";

const [count, mebibytes] = process.argv.slice(2).map(Number);
let peak = 0;
for (let i = 0; i < count; i++) {
  await new Random(i)
    .normal([mebibytes * 2 ** 18])
    .add(1)
    .settled();
  peak = Math.max(peak, process.memoryUsage.rss() / 2 ** 20);
}
console.log(JSON.stringify(peak));
