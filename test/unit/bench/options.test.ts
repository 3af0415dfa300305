import { methodOf } from "../../../bench/entrants";
import { METHOD_NAMES } from "../../../lib/internal";
import { parseOptions } from "../../../bench/options";

const parse = (...args: string[]) => parseOptions(args, "2000-01-01");

describe("the benchmark's options", () => {
  it("compare the methods that there are on pocket by default", () => {
    const { settings, out, jobs } = parse();
    expect(settings).toMatchObject({ protocol: "pocket", model: "pocket", classifier: "pocket", seed: 0 });
    expect(settings.methods[0]).toBe("kpop");
    for (const row of settings.methods) expect(METHOD_NAMES).toContain(methodOf(row));
    expect(settings.methods).toEqual(expect.arrayContaining(["kpop-neighbours", "esd", "esd-neighbours"]));
    expect(out).toMatch(/results.2000-01-01$/);
    expect(jobs).toBeGreaterThanOrEqual(1);
  });

  it("compare every row in the tables of objects and attacks where all are asked for", () => {
    const { settings } = parse("--methods", "all");
    expect([...new Set(settings.methods.map(methodOf))]).toEqual(METHOD_NAMES);
    expect(settings.experiments).toEqual(["objects", "robustness"]);
    expect(parse("--methods", "all", "--experiments", "styles").settings.experiments).toEqual(["styles"]);
    expect(parse().settings.experiments).toContain("styles");
  });

  it("put a quick run into a folder of its own", () => {
    expect(parse("--quick").out).toMatch(/2000-01-01-quick$/);
    expect(parse("--quick").settings.imagesPerClass).toBeLessThan(parse().settings.imagesPerClass);
  });

  it("follow the paper's protocol with another model", () => {
    const { settings } = parse("--model", "sd", "--classifier", "resnet50.safetensors");
    expect(settings).toMatchObject({
      protocol: "stable-diffusion",
      imagesPerClass: 500,
      steps: 100,
      guidanceScale: 7.5,
    });
  });

  it.each([
    [["--methods", "kpop,nothing"], /--methods to be among kpop.* but received "nothing"/],
    [["--experiments", "objects,x"], /--experiments to be among objects.* but received "x"/],
    [["--images-per-class", "0"], /--images-per-class to be an integer >= 1 but received "0"/],
    [["--images-per-class", "ten"], /--images-per-class to be an integer >= 1 but received "ten"/],
    [["--guidance-scale", "0.5"], /--guidance-scale to be a number >= 1 but received "0.5"/],
    [["--jobs", "0"], /--jobs to be an integer >= 1 but received "0"/],
    [["--device", "tpu"], /--device to be auto, cpu, cuda or cuda:0 and so on but received "tpu"/],
    [["--dtype", "int8"], /--dtype to be among float32, bfloat16, float16 but received "int8"/],
    [["--model", "sd"], /Expected --classifier with a model other than pocket/],
    [["--nonsense"], /--nonsense.*--help/],
  ])("refuse %j", (args, message) => {
    expect(() => parse(...args)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }),
    );
  });
});
