// throwing-listener.mjs MODEL: erases while every listener of the diagnostics channels throws; tells the steps done, and
// what Node reported.
import { subscribe, tracingChannel } from "node:diagnostics_channel";
import { erase } from "../../../dist/index.js";

const uncaught = [];
process.on("uncaughtException", ({ message }) => uncaught.push(message));
const fail = () => {
  throw new Error("a listener");
};
tracingChannel("kpop-native:load").subscribe({ start: fail });
subscribe("kpop-native:step", fail);

const few = { iterations: 2, batchSize: 1, poolSize: 1, samplingSteps: 4, neighbours: "off" };
const erasure = await erase(process.argv[2], { concepts: "church", ...few });
console.log(JSON.stringify({ steps: erasure.history.length, uncaught }));
erasure.dispose();
