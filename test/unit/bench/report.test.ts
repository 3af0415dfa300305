import { report } from "../../../bench/report/report";
import { findings } from "../../../bench/report/findings";
import { sampleCounts, sampleResults } from "../../support/sample-results";

describe("the report", () => {
  const { html, markdown } = report(sampleResults());

  it("needs nothing from outside", () => {
    const addresses = html.match(/(?:https?:)?\/\/[a-z][^"'\s<)]*/gi) ?? [];
    // Names of XML formats, which nothing fetches.
    expect(addresses.filter((address) => !/w3\.org\/(?:2000\/svg|1999\/xlink)/.test(address))).toEqual([]);
    expect(html).not.toMatch(/<link|<script[^>]+src|@import|url\((?!#)/);
  });

  it("has every experiment", () => {
    for (const id of [
      "findings",
      "objects",
      "recovery",
      "styles",
      "robustness",
      "ablations",
      "tracking",
      "digits",
      "search",
      "conditions",
    ])
      expect(html).toContain(`<section id="${id}">`);
  });

  it("tells published figures apart from ours", () => {
    const rows = html.match(/<tr[^>]*>.*?<\/tr>/gs)!.filter((row) => /KPOP ¹|UCE ²|ESD-x/.test(row));
    expect(rows.length).toBeGreaterThan(1);
    for (const row of rows) expect(row).toMatch(/^<tr class="published">.*>published</s);
    expect(markdown).toContain("_published:_ KPOP ¹ | 99.2 | 97.3 | 75.3 | 98.0");
  });

  it("gives the pooled rate with its interval and the deviation of the splits", () => {
    // 1 of 20 seen in each erased class; 16, 16, 14, 16 of 20 in the others: 310 of 400.
    expect(markdown).toMatch(
      /\| KPOP \| 95\.0 \(92\.4–96\.7, sd 0\.0\) \|.*\| 77\.5 \(73\.2–81\.3, sd 4\.3\) \|/,
    );
  });

  it("puts the original's pictures into each split's groups", () => {
    // 19 of 20 seen: erased by 5 %, preserved by 95 %.
    expect(markdown).toMatch(/\| Original \| 5\.0 \(.*\| 95\.0 \(/);
  });

  it("draws the figures as SVG in the page's own colours", () => {
    const figures = html.match(/<svg.*?<\/svg>/gs)!;
    expect(figures.length).toBeGreaterThanOrEqual(8);
    for (const figure of figures) expect(figure).toContain("var(--ink)");
    expect(figures[0]).toContain("var(--series-0)");
    expect(figures[0]).toContain(">KPOP<");
  });

  it("shows a row of pictures for each class, with a column for the key", () => {
    const grid = html.match(/<table class="pictures">.*?<\/table>/s)![0];
    expect(grid).toContain('<th scope="col">KPOP + key</th>');
    expect(grid.match(/<tr><th scope="row">/g)).toHaveLength(10);
    // Ten classes in six columns; the key's column has all, since it is put to all prompts.
    expect(grid.match(/<img /g)).toHaveLength(60);
  });

  it("marks the tries that were chosen", () => {
    const chosen = markdown.split("\n").filter((line) => line.includes("| yes |"));
    expect(chosen).toHaveLength(4);
    for (const line of chosen) expect(line).toContain("strength 1");
  });

  it("says how many tries the methods had, and whether as many", () => {
    expect(markdown).toContain("Every method had 4 tries on classes that are in no split");
    const results = sampleResults();
    results.trials = results.trials.filter(({ spec }) => !/^tune-esd-[12]$/.test(spec.name));
    expect(report(results).markdown).toContain("Methods had 2 to 4 tries on classes");
  });

  it("puts methods against attacks, with a dash where one is not for the method", () => {
    // 9 of 20 far and 14 near make 23 of 40; the key search brought 17 of 20.
    expect(markdown).toMatch(/\| KPOP \| 0\.0 \(.*\| 70\.0 \(.*\| 57\.5 \(.*\| 85\.0 \(/);
    expect(markdown).toMatch(/\| ESD \| 0\.0 \(.*\| 40\.0 \(.*\| 45\.0 \(.*\| – \|/);
  });

  it("says whether task vectors hold far from the name where the others do not, whichever way it falls", () => {
    expect(markdown).toContain("KPOP 45.0 % (25.8–65.8)");
    expect(markdown).toMatch(/The claim .* is borne out here, against each of them/);
    const results = sampleResults();
    const far = results.trials.find(({ spec }) => spec.name === "robustness-task-vector")!.attacks![1]!;
    far.inputs[0]!.hits = 20;
    const other = report(results).markdown;
    expect(other).toMatch(/The claim .* is not borne out here; KPOP, ESD hold better/);
  });

  it("escapes what comes from outside", () => {
    const results = sampleResults();
    results.settings.model = `<script>alert("x")</script>`;
    expect(report(results).html).not.toContain("<script>alert");
  });

  it("does without experiments that were not run", () => {
    const results = sampleResults();
    results.trials = results.trials.filter(({ spec }) => spec.experiment === "objects");
    const { html: part } = report(results);
    expect(part).toContain('<section id="objects">');
    expect(part).not.toContain('<section id="styles">');
    results.trials = [];
    expect(report(results).html).toContain('<section id="conditions">');
  });

  it("names trials that failed", () => {
    const results = { ...sampleResults(), failures: [{ name: "objects-esd-v1", message: "out of memory" }] };
    expect(report(results).html).toContain(
      "The trial objects-esd-v1 failed and is missing here: out of memory",
    );
  });
});

describe("the findings", () => {
  /** KPOP with these counts of 20 seen, against ESD with [1, 15]. */
  const against = (kpop: [number, number]): string => {
    const results = sampleResults();
    results.trials = results.trials.filter(({ spec }) => spec.experiment === "objects");
    for (const trial of results.trials) {
      const { method, erased, preserved } = trial.spec;
      if (method === "original") continue;
      trial.counts = sampleCounts(erased, preserved, method === "kpop" ? kpop : [1, 15]);
    }
    return findings(results).find((sentence) => sentence.startsWith("ESD"))!;
  };

  it("say that KPOP is ahead where it preserves more at equal erasing", () => {
    expect(against([1, 19])).toContain("KPOP preserves 20.0 points more. KPOP is ahead.");
  });

  it("say that it is behind where it preserves less", () => {
    expect(against([1, 9])).toContain("KPOP preserves 30.0 points less. KPOP is behind.");
  });

  it("claim no difference that the pictures do not show", () => {
    expect(against([1, 15])).toContain("as much as KPOP, within what these pictures can tell");
  });

  it("name the options that the search gave", () => {
    const results = sampleResults();
    const label = results.trials.find(({ spec }) => spec.name === results.chosen["esd"])!.spec.label;
    expect(findings(results).join(" ")).toContain(`ESD (${label}) erases`);
  });

  it("compare rows with neighbours among themselves, and say what neighbours change", () => {
    const results = sampleResults();
    const rows: Record<string, [number, number]> = {
      kpop: [1, 10],
      "kpop-neighbours": [1, 19],
      esd: [1, 15],
      "esd-neighbours": [1, 16],
    };
    const trials = results.trials.filter(
      ({ spec }) => spec.experiment === "objects" && spec.method === "esd",
    );
    results.settings = { ...results.settings, methods: Object.keys(rows) };
    results.trials = Object.entries(rows).flatMap(([method, seen]) =>
      trials.map((trial) => ({
        ...trial,
        spec: { ...trial.spec, method },
        counts: sampleCounts(trial.spec.erased, trial.spec.preserved, seen),
      })),
    );
    const told = findings(results);
    expect(told).toContainEqual(
      expect.stringMatching(
        /^ESD erases .* at equal erasing KPOP preserves 25\.0 points less\. KPOP is behind\.$/,
      ),
    );
    expect(told).toContainEqual(
      expect.stringMatching(
        /^ESD \+ neighbours .* KPOP \+ neighbours preserves 15\.0 points more\. KPOP \+ neigh/,
      ),
    );
    expect(told).toContainEqual(
      "Keeping neighbours changes what is preserved (PSR-1 %): KPOP 50.0 → 95.0, ESR-1 95.0 → 95.0; " +
        "ESD 75.0 → 80.0 (intervals overlap), ESR-1 95.0 → 95.0.",
    );
  });

  it("name the one that is ahead in both, or none", () => {
    expect(against([6, 9])).toContain("ESD is ahead in both");
    expect(against([6, 19])).toContain("neither is ahead in both");
  });
});
