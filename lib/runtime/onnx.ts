import { createRequire } from "node:module";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { KpopError } from "../errors";
import { packageRoot } from "./package-root";

/** An array of numbers with its shape. */
export interface OnnxArray {
  readonly data: Float32Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

type Answer = { readonly output: OnnxArray } | { readonly error: string };

/**
 * What runs on the worker: onnxruntime-node computes on the thread that calls it, though its functions return promises.
 * It is text because the package is one bundle, which has no file for a worker to start from.
 */
const WORKER = `
const { parentPort, workerData } = require("node:worker_threads");
const ort = require(workerData.library);
const session = ort.InferenceSession.create(workerData.path);
const answer = (work) =>
  work.then(
    (output) => parentPort.postMessage({ output }, output.data ? [output.data.buffer] : []),
    (error) => parentPort.postMessage({ error: String(error && error.message || error) }),
  );
answer(session.then(() => ({})));
parentPort.on("message", ({ data, shape }) =>
  answer(
    session.then(async (own) => {
      const input = new ort.Tensor("float32", data, shape);
      const output = (await own.run({ [own.inputNames[0]]: input }))[own.outputNames[0]];
      return { data: Float32Array.from(output.data), shape: output.dims };
    }),
  ),
);
`;

/** An ONNX model with one input and one output that are looked at, run by onnxruntime-node on a thread of its own. */
export class OnnxModel {
  private queue: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly path: string,
    private readonly worker: Worker,
  ) {}

  /**
   * @throws UNSUPPORTED_FORMAT without the package onnxruntime-node; INVALID_CHECKPOINT where it cannot read the file
   */
  static async load(path: string): Promise<OnnxModel> {
    const worker = new Worker(WORKER, { eval: true, workerData: { path, library: libraryFor(path) } });
    const model = new OnnxModel(path, worker);
    try {
      await model.ask(() => undefined, "is no ONNX model that onnxruntime reads");
      return model;
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  /** Its first output for its first input, whose data goes to the thread and is empty here afterwards. Calls wait for each other. @throws INVALID_CHECKPOINT where it fails */
  async run({ data, shape }: OnnxArray): Promise<OnnxArray> {
    return await this.ask(() => this.worker.postMessage({ data, shape }, [data.buffer]), "failed");
  }

  /** Ends the thread. Idempotent. */
  dispose(): void {
    void this.worker.terminate();
  }

  /** Waits for one answer; the thread keeps the process alive only meanwhile. */
  private ask(send: () => void, failure: string): Promise<OnnxArray> {
    const answer = this.queue.then(
      () =>
        new Promise<OnnxArray>((resolve, reject) => {
          const { worker, path } = this;
          const fail = (reason: string): void =>
            reject(new KpopError("INVALID_CHECKPOINT", `${path} ${failure}: ${reason}`));
          const ended = (): void => fail("its thread ended");
          const broken = (error: Error): void => fail(error.message);
          worker.ref();
          worker.once("exit", ended).once("error", broken);
          worker.once("message", (message: Answer) => {
            worker.unref();
            worker.off("exit", ended).off("error", broken);
            if ("error" in message) fail(message.error);
            else resolve(message.output);
          });
          send();
        }),
    );
    this.queue = answer.catch(() => undefined);
    return answer;
  }
}

/** Where onnxruntime-node lies beside this package, which needs it for nothing else. */
function libraryFor(path: string): string {
  try {
    return createRequire(join(packageRoot(), "package.json")).resolve("onnxruntime-node");
  } catch (cause) {
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${path} is an ONNX model, which runs with the package onnxruntime-node, and that is not installed here; install it beside kpop-native (npm install onnxruntime-node)`,
      { cause },
    );
  }
}
