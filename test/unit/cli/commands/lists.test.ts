import { ATTACK_NAMES, METHOD_NAMES } from "../../../../lib/internal";
import { cli, jsonLines } from "../../../support/cli";

describe("kpop-native methods", () => {
  it("lists every method under its kind, with paper, cost, and what it changes and leaves", async () => {
    const { code, stdout, stderr } = await cli(["methods"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect([...stdout.matchAll(/^([a-z-]+): /gm)].map(([, name]) => name).sort()).toEqual(
      [...METHOD_NAMES].sort(),
    );
    const entry = [
      "kpop: KPOP (arXiv 2403.12326)",
      "  moves the concept from the weights into a prompt, which brings it back",
      "  costs    9 UNet evaluations an iteration, those for what is kept among them",
      "  changes  UNet: xattn-kv",
      "  leaves   key",
    ];
    expect(stdout).toContain(`\n${entry.join("\n")}\n\n`);
    const [training, closed, inference] = ["Training:", "Closed forms:", "At inference:"].map((heading) =>
      stdout.indexOf(`${heading}\n\n`),
    ) as [number, number, number];
    expect(stdout.indexOf("\nesd: ")).toBeGreaterThan(training);
    expect(stdout.indexOf("\nuce: ")).toBeGreaterThan(closed);
    expect(stdout.slice(inference)).toContain("\nsld: ");
    expect(stdout.slice(inference)).toContain("  changes  no weights\n  leaves   intervention");
  });

  it("prints one object for each with --json, KPOP first", async () => {
    const { code, stdout } = await cli(["methods", "--json"]);
    expect(code).toBe(0);
    const methods = jsonLines(stdout);
    expect(methods.map(({ name }) => name)).toEqual(METHOD_NAMES);
    expect(methods[0]).toEqual({
      ...{ event: "method", name: "kpop", title: "KPOP", reference: "arXiv 2403.12326", kind: "training" },
      ...{ short: expect.any(String), cost: expect.any(String), leaves: ["key"] },
      changes: { network: "unet", parameters: "xattn-kv" },
    });
  });
});

describe("kpop-native attacks", () => {
  it("lists every attack with paper, cost, and what it needs and finds", async () => {
    const { code, stdout, stderr } = await cli(["attacks"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect([...stdout.matchAll(/^([a-z-]+): /gm)].map(([, name]) => name)).toEqual(ATTACK_NAMES);
    const entry = [
      "concept-inversion: Concept inversion (arXiv 2308.01508)",
      "  learns an embedding from pictures of the concept",
      "  finds  an embedding",
      "  needs  the weights, and pictures of the concept",
      "  costs  1 UNet evaluation a noisy picture and update, 4,000 with its defaults",
    ];
    expect(stdout).toContain(`${entry.join("\n")}\n\n`);
    expect(stdout).toMatch(/^ring-a-bell: .*\n.*\n.*\n {2}needs {2}no pictures of the concept$/m);
  });

  it("prints one object for each with --json", async () => {
    const attacks = jsonLines((await cli(["attacks", "--json"])).stdout);
    expect(attacks.map(({ name }) => name)).toEqual(ATTACK_NAMES);
    expect(attacks[0]).toEqual({
      ...{ event: "attack", name: "concept-inversion", title: "Concept inversion" },
      ...{ reference: "arXiv 2308.01508", short: expect.any(String), finds: "an embedding" },
      ...{ needsPictures: true, cost: expect.any(String) },
    });
  });
});
