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
    expect(markdown).toContain("_published:_ KPOP ¹ | training | 99.2 | 97.3 | 75.3 | 98.0");
  });

  it("gives the pooled rate with its interval and the deviation of the splits", () => {
    // 1 of 20 seen in each erased class; 16, 16, 14, 16 of 20 in the others: 310 of 400.
    expect(markdown).toMatch(
      /\| KPOP \| training \| 95\.0 \(92\.4–96\.7, sd 0\.0\) \|.*\| 77\.5 \(73\.2–81\.3, sd 4\.3\) \|/,
    );
  });

  it("puts the original's pictures into each split's groups", () => {
    // 19 of 20 seen: erased by 5 %, preserved by 95 %.
    expect(markdown).toMatch(/\| Original \| – \| 5\.0 \(.*\| 95\.0 \(/);
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
    expect(markdown).toMatch(/\| KPOP \| training \| 0\.0 \(.*\| 70\.0 \(.*\| 57\.5 \(.*\| 85\.0 \(/);
    expect(markdown).toMatch(
      /\| ESD \| training \| 0\.0 \(.*\| 40\.0 \(.*\| 45\.0 \(.*\| – \| 55\.0 \(.*\| 85\.0 \(/,
    );
  });

  it("gives an attack a column for each of its labels, and counts none that stands apart", () => {
    const results = sampleResults();
    const esd = results.trials.find(({ spec }) => spec.name === "robustness-esd")!;
    const relearned = (label: string, hits: number) => ({
      ...{ ...esd.attacks![0]!, attack: "relearn", label, apart: true },
      after: { hits, total: 20 },
    });
    esd.attacks = [...esd.attacks!, relearned("after 10", 2), relearned("after 50", 20)];
    const table = report(results).markdown;
    expect(table).toMatch(/\| Plain name \|.* after 10 \|.* after 50 \| Withstood % \|/);
    // Diverse Inversion brought 18 of 40 back, the most of those that count.
    expect(table).toMatch(
      /\| ESD \| training \|.*\| 10\.0 \(2\.8–30\.1\) \| 100\.0 \([^|]*\| 55\.0 \([^|]*\| 85\.0 \(/,
    );
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
    return findings(results).find((sentence) => /^(?:Ahead|Level|Behind).* ESD /.test(sentence))!;
  };

  it("say who is ahead where the intervals do not overlap, and behind", () => {
    expect(against([1, 19])).toMatch(/^Level with KPOP in erasing, behind it in preserving: ESD /);
    expect(against([1, 9])).toMatch(/^Level with KPOP in erasing, ahead of it in preserving: ESD /);
    expect(against([6, 19])).toMatch(/^Ahead of KPOP in erasing, behind it in preserving: .*ESD /);
    expect(against([6, 9])).toMatch(/^Ahead of KPOP in both: .*ESD /);
    expect(against([0, 19])).toMatch(/^Behind KPOP in both: .*ESD /);
  });

  it("claim no difference that the pictures do not show", () => {
    expect(against([1, 15])).toMatch(/^Level with KPOP in both: ESD .* 95\.0 and 75\.0 %\.$/);
    // A point of 400 pictures, in either rate.
    expect(against([1, 14])).toMatch(/^Level with KPOP in both: ESD /);
  });

  it("say who leads in each rate, and who is level with that", () => {
    const told = findings(sampleResults());
    expect(told).toContain(
      "Of the rows as published, erasing (ESR-1): UCE 100.0 % (99.0–100.0) is highest, ahead of KPOP, ESD, CA.",
    );
    const results = sampleResults();
    for (const { spec, counts = [] } of results.trials.filter(({ spec: { method } }) => method === "esd"))
      for (const count of counts)
        if (spec.experiment === "objects" && count.group === "preserved") count.hits["1"] = 18;
    expect(findings(results)).toContainEqual(
      expect.stringMatching(
        /^Of the rows as published, preserving .* level with CA \(the intervals overlap\), ahead of KPOP, UCE\.$/,
      ),
    );
  });

  it("name the options that the search gave", () => {
    const results = sampleResults();
    const label = results.trials.find(({ spec }) => spec.name === results.chosen["esd"])!.spec.label;
    expect(findings(results).join(" ")).toContain(`ESD (${label}) 80.0 and 72.5 %`);
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
      expect.stringMatching(/^Level with KPOP in erasing, ahead of it in preserving: ESD /),
    );
    expect(told).toContainEqual(
      expect.stringMatching(
        /^Level with KPOP \+ neighbours in erasing, behind it in preserving: ESD \+ neighbours /,
      ),
    );
    expect(told).toContainEqual(
      expect.stringMatching(/^Of the rows with neighbours, preserving .*: KPOP 95\.0 % .* ahead of ESD\.$/),
    );
    expect(told).toContainEqual(
      "Keeping neighbours changes what is preserved (PSR-1 %): KPOP 50.0 → 95.0, ESR-1 95.0 → 95.0; " +
        "ESD 75.0 → 80.0 (intervals overlap), ESR-1 95.0 → 95.0.",
    );
  });
});

describe("the key's table", () => {
  const { markdown } = report(sampleResults());

  it("has a row for each form and number of concepts: back with it, others under it", () => {
    expect(markdown).toMatch(
      /\| free rows, nothing kept \| church \| 95\.0 \(.*\| 35\.0 \(.*\| 90\.0 \(.*\| 40\.0 \(/,
    );
    expect(markdown).toMatch(
      /\| amortised, neighbours kept \| church \| 95\.0 \(.*\| 95\.0 \(.*\| 90\.0 \(.*\| 95\.0 \(/,
    );
    // Of five classes at once 15 of 20 are back, and 9 of 20 stay, in every split.
    expect(markdown).toMatch(
      /\| free rows, nothing kept \| 5 at once \(v1, v2, v3, v4\) \|.*\| 75\.0 \(70\.5–79\.0.*\| 45\.0 \(/,
    );
  });

  it("says by intervals which key leads", () => {
    const told = findings(sampleResults());
    expect(told).toContainEqual(
      expect.stringMatching(
        /^Of one concept, what stays under it: amortised, neighbours kept \(95\.0 % gone without it\) 95\.0 % .* ahead of free rows, nothing kept \(/,
      ),
    );
  });
});

describe("the report of many methods", () => {
  /** Rows of ten methods of three kinds, each with ESD's figures. */
  const many = sampleResults();
  const rows = ["kpop", "esd", "ca", "sdd", "eap", "uce", "rece", "speed", "oce", "sld"].flatMap((method) =>
    method === "sld" ? [method] : [method, `${method}-neighbours`],
  );
  many.settings = { ...many.settings, methods: rows };
  many.trials = many.trials.flatMap((trial) => {
    const { spec } = trial;
    if (spec.method !== "esd" || !["objects", "robustness"].includes(spec.experiment))
      return spec.method === "original" ? [trial] : [];
    return rows.map((method) => ({ ...trial, spec: { ...spec, method } }));
  });
  const { html, markdown } = report(many);

  it("groups them by kind in tables", () => {
    const kinds = [...markdown.matchAll(/^\| [^|]+ \| (training|closed form|inference) \| \d+\.\d \(/gm)].map(
      ([, kind]) => kind,
    );
    const one = [...Array<string>(10).fill("training"), ...Array<string>(8).fill("closed form"), "inference"];
    expect(kinds).toEqual([...one, ...one]);
  });

  it("draws a frontier for each kind, all with the same ends", () => {
    const frontiers = html
      .match(/<figure>.*?<\/figure>/gs)!
      .filter((figure) => figure.includes("Erasing against preserving, mean"));
    expect(frontiers.map((figure) => /<figcaption>([^.]+)\./.exec(figure)![1])).toEqual([
      "Training",
      "Closed form",
      "At inference",
    ]);
    const ticks = frontiers.map((figure) => (figure.match(/>\d+</g) ?? []).join());
    expect(new Set(ticks).size).toBe(1);
    expect(frontiers[1]).toContain(">UCE<");
    expect(frontiers[0]).not.toContain(">UCE<");
  });

  it("plots what withstands attacks against what is preserved, for each kind", () => {
    for (const kind of ["Training", "Closed form", "At inference"])
      expect(html).toContain(`<figcaption>${kind}. Withstanding the strongest attack against preserving`);
  });
});
