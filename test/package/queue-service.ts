import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { StepReport } from "../../lib/training/step-report";
import type { InstalledPackage } from "../support/installed-package";
import { redisProgram, startRedis } from "../support/redis";

const OPTIONS = { iterations: 30, poolSize: 1, samplingSteps: 4, batchSize: 1, neighbours: "off" };
const ERASE = { method: "kpop", concepts: ["church"], seed: 1, options: OPTIONS };
const EVALUATE = {
  erased: ["church"],
  preserved: ["dog"],
  imagesPerClass: 1,
  steps: 2,
  topK: [1],
  classifier: "pocket",
};

/** A line that the example's client prints. */
interface Told {
  added?: { erase: string; evaluate?: string };
  progress?: StepReport;
  completed?: { path: string; unetEvaluations: number } & Record<string, unknown>;
  failed?: string;
}

/** examples/queue-service on a Redis of its own, with its dependencies from its lock file and the package from its tarball. */
export function describeQueueService(given: () => { user: InstalledPackage; tarball: string }): void {
  const program = redisProgram();
  if (program === null) {
    const missing = "redis-server is not installed: apt-get install redis-server";
    const test = process.env["CI"] ? it : it.skip;
    test(`runs the example of a queue (${missing})`, () => {
      throw new Error(missing);
    });
    return;
  }

  describe("the example of a queue", () => {
    let folder: string;
    let redis: Awaited<ReturnType<typeof startRedis>>;
    let worker: ChildProcess;
    const running = new Set<ChildProcess>();

    const start = (...command: string[]): ChildProcess => {
      const env = { REDIS_URL: redis.url, EVERY: "1", LOCK_MS: "2000" };
      const child = given().user.start(folder, env, "node", ...command);
      running.add(child.once("exit", () => running.delete(child)));
      return child;
    };
    const startWorker = async (): Promise<ChildProcess> => {
      const child = start("worker.js");
      for await (const line of createInterface({ input: child.stdout! })) if (line === "Ready") break;
      child.stdout!.resume();
      return child;
    };
    /** @returns its exit code, and the signal that ended it */
    const kill = async (child: ChildProcess, signal: NodeJS.Signals): Promise<unknown[]> => {
      const ended = once(child, "exit") as Promise<unknown[]>;
      child.kill(signal);
      return await ended;
    };
    /** Runs the client to its end. @param heard told of each line */
    const client = async (
      args: readonly string[],
      heard?: (told: Told) => Promise<unknown>,
    ): Promise<Told[]> => {
      const all: Told[] = [];
      for await (const line of createInterface({ input: start("client.js", ...args).stdout! })) {
        all.push(JSON.parse(line) as Told);
        await heard?.(all.at(-1)!);
      }
      return all;
    };
    const add = (job: object, heard?: (told: Told) => Promise<unknown>): Promise<Told[]> =>
      client(["add", JSON.stringify(job), "--watch"], heard);
    const files = (id: string): Record<string, string> => {
      const model = join(given().user.project, folder, "out", id, "model");
      const names = readdirSync(model, { recursive: true, encoding: "utf8" });
      // These tell times.
      const timed = ["kpop-run.json", "kpop-log.json"];
      const compared = names.filter((name) => /\.(?:safetensors|json)$/.test(name) && !timed.includes(name));
      return Object.fromEntries(compared.map((name) => [name, readFileSync(join(model, name), "base64")]));
    };

    beforeAll(async () => {
      const { user, tarball } = given();
      folder = user.addExample("queue-service");
      await user.install(tarball, folder);
      const data = join(user.project, "redis");
      mkdirSync(data);
      redis = await startRedis(program, data);
    }, 300_000);

    afterAll(async () => {
      for (const child of running) child.kill("SIGKILL");
      await redis?.stop();
    });

    it("finishes the job of a killed worker, and of one that is told to end, with the bits of an undisturbed run", async () => {
      worker = await startWorker();
      const whole = await add({ erase: ERASE });
      expect(await kill(worker, "SIGTERM")).toEqual([0, null]);

      worker = await startWorker();
      const ends: [number, NodeJS.Signals][] = [
        [3, "SIGKILL"],
        [10, "SIGTERM"],
      ];
      const first: number[] = [];
      const disturbed = await add({ erase: ERASE }, async ({ progress }) => {
        if (progress === undefined) return;
        if (progress.iteration === 1) first.push(progress.seconds);
        const [until, signal] = ends[0] ?? [Infinity];
        if (progress.iteration < until) return;
        ends.shift();
        const [code] = await kill(worker, signal!);
        expect(code).toBe(signal === "SIGTERM" ? 0 : null);
        worker = await startWorker();
      });
      expect(ends).toEqual([]);
      // Each worker told of the first iteration; the second and the third as it was with the first one.
      expect(first).toHaveLength(3);
      expect(new Set(first).size).toBe(1);
      const [one, other] = [whole, disturbed].map((lines) => ({
        evaluations: lines.at(-1)!.completed?.unetEvaluations,
        files: files(lines[0]!.added!.erase),
      }));
      expect(Object.keys(one!.files).length).toBeGreaterThan(5);
      expect(other).toEqual(one);
    });

    it("cancels a job that runs and one that waits, and works on", async () => {
      const cancel = ({ added }: Told) => client(["cancel", added!.erase]);
      let waiting: Told | undefined;
      let own: Told | undefined;
      const told = await add(
        { erase: { ...ERASE, options: { ...OPTIONS, iterations: 5000 } } },
        async (line) => {
          own ??= line;
          if (waiting !== undefined || line.progress === undefined) return;
          [waiting] = await client(["add", JSON.stringify({ erase: ERASE, evaluate: EVALUATE })]);
          await cancel(waiting!);
          await cancel(own);
        },
      );
      expect(told.at(-1)).toEqual({ failed: "Cancelled" });
      expect(await client(["watch", waiting!.added!.erase])).toEqual([{ failed: "Cancelled" }]);
      // What waits for it fails with it.
      expect(await client(["watch", waiting!.added!.evaluate!])).toEqual([
        { failed: expect.stringContaining(waiting!.added!.erase) as string },
      ]);
    });

    it("evaluates what it has erased", async () => {
      const erase = { ...ERASE, options: { ...OPTIONS, iterations: 2 } };
      const told = await add({ erase, evaluate: EVALUATE });
      expect(told.at(-1)).toEqual({
        completed: {
          ...{ images: 2, generated: 2 },
          esr: { 1: expect.objectContaining({ total: 1 }) as object },
          psr: { 1: expect.objectContaining({ total: 1 }) as object },
        },
      });
    });

    it("says why a job fails", async () => {
      const told = await add({ erase: { ...ERASE, method: "none" } });
      expect(told.at(-1)!.failed).toMatch(/^INVALID_ARGUMENT: Expected method to be one of "kpop"/);
    });
  });
}
