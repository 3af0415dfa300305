import type { InstalledPackage } from "../support/installed-package";

interface Span {
  name: string;
  id: string;
  parent?: string;
  milliseconds: number;
  attributes: Record<string, unknown>;
  steps: Record<string, unknown>[];
}

/** examples/opentelemetry, with its dependencies from its lock file and the package from its tarball. */
export function describeOpenTelemetry(given: () => { user: InstalledPackage; tarball: string }): void {
  describe("the example of OpenTelemetry", () => {
    it("makes spans of an erasure, each within what it is part of, and tells no text of a user", async () => {
      const { user, tarball } = given();
      const folder = user.addExample("opentelemetry");
      await user.install(tarball, folder);
      const output = await user.runIn(folder, {}, "node", "erase.js", "church", "2");
      const spans = output
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Span);
      const [load, erase, generate] = spans as [Span, Span, Span];
      expect(spans.map(({ name }) => name)).toEqual(["kpop load", "kpop erase", "kpop generate"]);
      expect([load.parent, erase.parent, generate.parent]).toEqual([erase.id, undefined, undefined]);
      expect(load.milliseconds).toBeLessThan(erase.milliseconds);
      expect(erase.attributes).toMatchObject({
        "kpop.method": "kpop",
        "kpop.iterations": 2,
        "kpop.unetEvaluations": expect.any(Number) as number,
      });
      expect(erase.steps).toEqual(
        [1, 2].map(
          (iteration) =>
            expect.objectContaining({
              "kpop.iteration": iteration,
              "kpop.loss.erase": expect.any(Number) as number,
            }) as object,
        ),
      );
      expect(generate.attributes).toMatchObject({ "kpop.pictures": 1, "kpop.steps": 4 });
      expect(output).not.toContain("church");
    });
  });
}
