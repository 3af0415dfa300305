import { loadFamily } from "../../support/family-model";
import { describeMethods } from "../../support/method-contract";

// One of each kind: a closed form, KPOP with its key, plain training. That all of them run on XL, xl.test.ts sees.
describe("on a model of Stable Diffusion XL's kind", () => {
  describeMethods(["uce", "kpop", "esd"], () => loadFamily("xl", { latents: 8 }), {
    run: { neighbours: { words: ["dog", "fish", "castle", "house", "tree", "temple"] } },
    method: { iterations: 2, samplingSteps: 4, parameters: /^mid_block.*attn2\.to_[kv]\.weight$/ },
  });
});
