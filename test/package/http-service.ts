import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { ChildProcess } from "node:child_process";
import type { InstalledPackage } from "../support/installed-package";
import { serverSentEvents } from "../support/server-sent-events";
import type { ServerSentEvent } from "../support/server-sent-events";

const QUICK = { iterations: 2, poolSize: 1, samplingSteps: 4 };
/** Longer than any test: to be cancelled. */
const ENDLESS = { ...QUICK, iterations: 5000 };
const ABORTED = { name: "error", data: { code: "ABORTED", message: expect.any(String) as string } };

/** examples/http-service, with its dependencies from its lock file and the package from its tarball. */
export function describeHttpService(given: () => { user: InstalledPackage; tarball: string }): void {
  describe("the example of an HTTP service", () => {
    let server: ChildProcess;
    let address: string;
    let temporary: string;
    /** Before it listened. */
    const logged: string[] = [];

    const post = (body: unknown) =>
      fetch(`${address}/jobs`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    /** The new job's URL. */
    const add = async (concept: string, options: object): Promise<string> => {
      const response = await post({ concepts: [concept], method: "kpop", options });
      const { id } = (await response.json()) as { id: string };
      expect(response.status).toBe(202);
      expect(response.headers.get("location")).toBe(`/jobs/${id}`);
      return `${address}/jobs/${id}`;
    };
    const watch = async (job: string, signal?: AbortSignal) =>
      serverSentEvents(await fetch(`${job}/events`, { signal: signal ?? null }));
    const restOf = async (events: AsyncIterable<ServerSentEvent>): Promise<ServerSentEvent[]> => {
      const all: ServerSentEvent[] = [];
      for await (const event of events) all.push(event);
      return all;
    };
    /** Watches a job, until its first step at least. */
    const watchToStep = async (job: string) => {
      const leave = new AbortController();
      const events = await watch(job, leave.signal);
      expect((await events.next()).value).toMatchObject({ name: "start" });
      expect((await events.next()).value).toMatchObject({ name: "step" });
      return { events, leave };
    };

    beforeAll(async () => {
      const { user, tarball } = given();
      const folder = user.addExample("http-service");
      await user.install(tarball, folder);
      temporary = join(user.project, "temporary");
      mkdirSync(temporary);
      server = user.start(folder, { PORT: "0", TMPDIR: temporary }, "node", "server.js");
      for await (const line of createInterface({ input: server.stdout! })) {
        address = /^Listening on (http:\S+)$/.exec(line)?.[1] ?? "";
        if (address !== "") break;
        logged.push(line);
      }
      server.stdout!.resume();
    }, 300_000);

    afterAll(() => server?.kill("SIGKILL"));

    it.each([
      ["an option that names a folder", { concepts: ["a"], method: "kpop", options: { checkpoint: {} } }],
      ["another method's option", { concepts: ["a"], method: "uce", options: { iterations: 2 } }],
      ["a method that is not offered", { concepts: ["a"], method: "ca" }],
      ["no method", { concepts: ["a"] }],
      ["no concept", { concepts: [], method: "kpop" }],
      ["a number as text", { concepts: ["a"], method: "kpop", options: { iterations: "2" } }],
    ])("refuses %s", async (_name, body) => {
      expect((await post(body)).status).toBe(400);
    });

    it("has no job by another name, and takes no path for one", async () => {
      const status = async (id: string) => (await fetch(`${address}/jobs/${id}/model`)).status;
      expect(await status("00000000-0000-4000-8000-000000000000")).toBe(404);
      expect(await status("..%2f..%2fpackage.json")).toBe(400);
    });

    it("tells a job's progress, serves its result, and deletes it", async () => {
      const job = await add("church", QUICK);
      const events = await restOf(await watch(job));
      expect(events.map(({ name }) => name)).toEqual(["start", "step", "step", "done"]);
      expect(events[2]!.data).toMatchObject({
        iteration: 2,
        iterations: 2,
        losses: { erase: expect.any(Number) },
      });
      const model = Buffer.from(await (await fetch(`${job}/model`)).arrayBuffer());
      const header = model.subarray(8, 8 + Number(model.readBigUInt64LE())).toString();
      expect(Object.keys(JSON.parse(header) as object)).toContain(
        "model.diffusion_model.time_embed.0.weight",
      );
      expect(events[3]!.data).toMatchObject({ sha256: createHash("sha256").update(model).digest("hex") });

      expect((await fetch(job, { method: "DELETE" })).status).toBe(204);
      expect((await fetch(`${job}/model`)).status).toBe(404);
    });

    it("measures and logs what the library tells of", async () => {
      expect(logged.map((line) => JSON.parse(line) as unknown)).toEqual([
        { operation: "load", outcome: "ok", seconds: expect.any(Number) as number },
      ]);
      const metrics = await (await fetch(`${address}/metrics`)).text();
      for (const line of [
        'kpop_operation_seconds_count{operation="load",outcome="ok"} 1',
        'kpop_operation_seconds_count{operation="erase",outcome="ok"} 1',
        'kpop_operations_running{operation="erase"} 0',
        'kpop_steps_total{method="kpop"} 2',
      ])
        expect(metrics.split("\n")).toContain(line);
    });

    it("erases one concept at a time, and cancels the job whose watcher leaves", async () => {
      const running = await add("dog", ENDLESS);
      const waiting = await add("fish", QUICK);
      const first = await watchToStep(running);
      const second = await watchToStep(running);
      let started = false;
      const next = (await watch(waiting)).next().finally(() => (started = true));

      first.leave.abort();
      // Someone watches still.
      expect((await second.events.next()).value).toMatchObject({ name: "step" });
      expect(started).toBe(false);
      second.leave.abort();
      expect((await next).value).toMatchObject({ name: "start", data: { concepts: ["fish"] } });
      expect((await restOf(await watch(running))).at(-1)).toEqual(ABORTED);
      expect((await fetch(`${running}/model`)).status).toBe(409);
    });

    it("cancels a job that is deleted, running or waiting", async () => {
      const running = await add("dog", ENDLESS);
      const waiting = await add("fish", QUICK);
      const { events } = await watchToStep(running);
      const waited = await watch(waiting);
      for (const job of [waiting, running]) expect((await fetch(job, { method: "DELETE" })).status).toBe(204);
      expect(await restOf(waited)).toEqual([ABORTED]);
      expect((await restOf(events)).at(-1)).toEqual(ABORTED);
    });

    it("ends in mid-run when it is told to, and leaves nothing behind", async () => {
      const { events } = await watchToStep(await add("dog", ENDLESS));
      const ended = once(server, "exit");
      server.kill("SIGTERM");
      expect((await restOf(events)).at(-1)).toEqual(ABORTED);
      expect(await ended).toEqual([0, null]);
      expect(readdirSync(temporary)).toEqual([]);
    });
  });
}
