import { Worker } from "node:worker_threads";

/** RGB, row-major, 8 bits a channel. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8Array;
}

/** Why a picture is not read that lets something shine through. */
export const TRANSPARENT = "it has transparent pixels; put it on a background first";

/** Filtering and parsing take tens of milliseconds for a large picture, which the JS thread has not. */
const PROGRAM = `
const { parentPort, workerData } = require("node:worker_threads");
const { pngjs, transparent } = workerData;
const { PNG } = require(pngjs);
const jobs = {
  write({ width, height, data }) {
    const options = { width, height, colorType: 2, inputColorType: 2, inputHasAlpha: false, filterType: 4 };
    return PNG.sync.write({ width, height, data: Buffer.from(data.buffer) }, options);
  },
  read({ data }) {
    const { width, height, data: rgba } = PNG.sync.read(Buffer.from(data.buffer));
    const rgb = new Uint8Array(width * height * 3);
    for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
      if (rgba[from + 3] !== 255) throw new Error(transparent);
      rgb[to] = rgba[from];
      rgb[to + 1] = rgba[from + 1];
      rgb[to + 2] = rgba[from + 2];
    }
    return { width, height, data: rgb };
  },
};
parentPort.on("message", ({ job, ...given }) => {
  try {
    parentPort.postMessage({ result: jobs[job](given) });
  } catch (error) {
    parentPort.postMessage({ fault: String(error?.message ?? error) });
  }
});
`;

/** RGB as a PNG file's bytes. */
export async function writePng({ width, height, data }: Pixels): Promise<Buffer> {
  return Buffer.from(await inWorker<Uint8Array>({ job: "write", width, height, data: new Uint8Array(data) }));
}

/** RGB of a PNG file's bytes. @throws Error of transparent pixels, or with the decoder's words */
export async function readPng(bytes: Uint8Array): Promise<Pixels> {
  return await inWorker<Pixels>({ job: "read", data: new Uint8Array(bytes) });
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

let worker: { thread: Worker; waiting: Waiting[] } | undefined;

/** One worker for all pictures, which answers in the order of the questions and keeps no process alive. */
async function inWorker<T>(
  message: Partial<Pixels> & { job: string; data: Uint8Array<ArrayBuffer> },
): Promise<T> {
  worker ??= start();
  const { thread, waiting } = worker;
  thread.ref();
  return await new Promise<T>((resolve, reject) => {
    waiting.push({ resolve, reject });
    thread.postMessage(message, [message.data.buffer]);
  });
}

function start(): NonNullable<typeof worker> {
  const thread = new Worker(PROGRAM, {
    eval: true,
    execArgv: [],
    workerData: { pngjs: require.resolve("pngjs"), transparent: TRANSPARENT },
  });
  const waiting: Waiting[] = [];
  const end = (error: Error): void => {
    if (worker?.thread === thread) worker = undefined;
    for (const { reject } of waiting.splice(0)) reject(error);
  };
  thread.on("message", ({ result, fault }: { result?: unknown; fault?: string }) => {
    const next = waiting.shift();
    if (waiting.length === 0) thread.unref();
    if (fault === undefined) next?.resolve(result);
    else next?.reject(new Error(fault));
  });
  thread.on("error", end);
  thread.on("exit", () => end(new Error("the thread that reads and writes pictures has ended")));
  return { thread, waiting };
}
