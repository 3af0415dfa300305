import { digitsSection } from "../../../../bench/report/digits";
import { toMarkdown } from "../../../../lib/report/page/markdown";
import { sampleResults } from "../../../support/sample-results";

describe("the digits' section", () => {
  const section = digitsSection(sampleResults())!;
  const text = toMarkdown("", [section]);

  it("gives each model's success at each distance with its interval", () => {
    // 64 of 128, and Wilson's interval of it.
    expect(text).toContain(
      "| Fine-tuned at its name | found by optimisation | 8 | 4 | 0.9 | 50.0 (41.5–58.5) | 100.0 (80.6–100.0) |",
    );
    expect(text).toContain("| Original | drawn at random | 1 | 1 | 0.7 | 75.0 (66.8–81.7) |");
  });

  it("says what is left of the other digits", () => {
    expect(text).toContain("| Task vector | 0.0 (0.0–2.9) | 69.4 (63.9–74.5) | 3.1 (1.7–5.8) |");
  });

  it("claims a difference only where the intervals are apart", () => {
    expect(text).toContain("Within 8 the attack finds the digit less often after the task vector");
    expect(text).toContain("Within 1 the 95 % intervals of the two overlap.");
    expect(text).not.toContain("more often");
  });

  it("says what the attack adds to what the name alone draws", () => {
    expect(text).toContain("- Fine-tuned at its name: 0.0 % at the name, 50.0 % under attack within 8.");
    expect(text).toContain("- Task vector: 0.0 % at the name, 6.3 % under attack within 8.");
  });

  it("says so when the task vector does worse", () => {
    const results = sampleResults();
    for (const { digits } of results.trials)
      for (const row of digits?.distances ?? []) if (row.model === "task-vector") row.hits = 128;
    expect(toMarkdown("", [digitsSection(results)!])).toContain(
      "Within 1, 8 the attack finds the digit more often after the task vector",
    );
  });

  it("draws a line for each model, from its own embedding outwards", () => {
    const figures = section.blocks.find(({ kind }) => kind === "figures");
    if (figures?.kind !== "figures") throw new Error("no figures");
    expect(figures.figures).toHaveLength(2);
    for (const { svg } of figures.figures) expect(svg).toContain(">Task vector<");
  });

  it("is not there where the experiment was not run", () => {
    const results = sampleResults();
    results.trials = results.trials.filter(({ spec }) => spec.experiment !== "digits");
    expect(digitsSection(results)).toBeNull();
  });
});
