import { repeated, rows } from "../../diffusion/condition";
import { evaluateEach } from "../../diffusion/predict";
import { parseSchedule } from "../../nn/schedules";
import { choice, integer, schedule, selector, templates, text } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { open } from "../../options/option";
import { defineMethod, type OptionsOf } from "../method";
import { checkTrajectories, trajectories } from "../shared/latent-options";
import { checkPrompt, fitPrompt, LearnedPrompt, learnedPrompt } from "../shared/learned-prompt";
import { fillTemplates } from "../shared/texts";
import { ENTRANT, training } from "../shared/training-options";

/** What names a concept by default: alone, behind other words and before some. */
const NAMINGS = ["{}", "a photo of a {}", "{} on a table"];

/**
 * KPOP: knowledge transfer and removal with a learnable prompt (arXiv 2403.12326).
 *
 * Each iteration, on z_t and t of a trajectory that is guided towards the concept c_e:
 *  1. transfer (eq. 5): p takes a step on ‖ε_θ'(z_t, t, c_e, p) - ε_θ(z_t, t, c_e)‖², θ' fixed;
 *  2. removal (eq. 6): θ' takes a step on L1 + λ L2, p fixed, with
 *     L1 = ‖ε_θ'(z_t, t, c_e) - ε_θ(z_t, t, c_n)‖² and L2 = ‖ε_θ'(z_t, t, c_e, p) - ε_θ(z_t, t, c_e)‖².
 * All are means over elements. θ is the model as it came.
 */
export const kpop = defineMethod({
  name: "kpop",
  title: "KPOP",
  short: "moves the concept from the weights into a prompt, which brings it back",
  reference: "arXiv 2403.12326",
  kind: "training",
  cost: "9 UNet evaluations an iteration, those for what is kept among them",
  // As published, but for the layers: through the middle one alone the key brings little back after so few iterations.
  entrant: {
    ...ENTRANT,
    prompt: { form: "free", mechanism: "concat", size: 10, layers: "all", perConcept: true },
    parameters: "xattn",
  },
  options: {
    /** What the concept is turned into, c_n, where the target is "neutral". Default "a photo". */
    neutral: open(text("a photo", 'prompt that the concept becomes; default "a photo"', { blank: true })),
    /**
     * Target of L1: the paper's ε(c_n), "neutral", or ESD's 2ε("") - ε(c_e), which leads away from the concept. Where
     * neighbours hold the concept in place, the way to c_n is too short to leave it. Default "negative-guidance"; "neutral"
     * where `neutral` is given or the prompt is free.
     */
    target: open(
      choice(
        "negative-guidance",
        ["neutral", "negative-guidance"],
        "what the erased prediction is drawn to: neutral, or negative-guidance (ESD's)",
      ),
    ),
    ...training(),
    /** Updates of the weights. Default 400, and 50 more for each concept behind the first; 1000 with a free prompt. */
    iterations: open(
      integer(1000, "updates of the weights; default 400, and 50 more for each further concept", {
        from: 1,
      }),
    ),
    /**
     * Adam's rate for the weights. Default 1.2e-3, falling along a cosine to a hundredth; with a free prompt 2e-4. Both were
     * chosen on the built-in model: for the wider layers of Stable Diffusion 1.x begin with the paper's 1e-5.
     */
    learningRate: open(schedule(2e-4, "Adam's rate for the weights; default a cosine from 1.2e-3 to 1.2e-5")),
    /**
     * The weights that may change. Default "xattn-kv", what reads the text: with these alone the key brings everything back
     * and leaves other texts alone. With a free prompt "xattn", as published.
     */
    parameters: open(
      selector(
        "xattn-kv",
        "weights that may change: a group (xattn, xattn-kv, selfattn, noxattn, full, ...) or a /pattern/",
      ),
    ),
    /**
     * Adam's rate for the prompt. Adam moves an element by about its rate a step. Default 1e-3 for an amortised prompt, a
     * function that has to stay small on other texts, falling along a cosine to 5e-5; 5e-2 for a free one, which has to
     * reach the length of a text's rows (elements near 0.6) while the weights are still on their way.
     */
    promptLearningRate: open(
      schedule(5e-2, "Adam's rate for the learned prompt; default a cosine from 1e-3 to 5e-5"),
    ),
    /** Weight of L2, which keeps the concept under the prompt. Default 0.1, the paper's. More brings more back and erases less. */
    lambda: schedule(0.1, "weight of the loss that keeps the concept under the prompt"),
    /** The learned prompt. */
    prompt: learnedPrompt(),
    ...trajectories(),
    /** Ways to name each concept, "{}" standing for it; each is trained on. With a free prompt "{}". */
    templates: open(templates(["{}"], `ways to name a concept; default ${JSON.stringify(NAMINGS)}`)),
  },
  artefacts: () => ["key"],
  settle(o, { concepts }) {
    const ours = o.prompt.form === "amortised";
    const away = ours && o.neutral === undefined;
    return {
      ...o,
      neutral: o.neutral ?? "a photo",
      target: o.target ?? (away ? "negative-guidance" : "neutral"),
      iterations: o.iterations ?? (ours ? 350 + 50 * concepts.length : 1000),
      learningRate: o.learningRate ?? (ours ? { from: 1.2e-3, to: 1.2e-5, shape: "cosine" } : 2e-4),
      promptLearningRate: o.promptLearningRate ?? (ours ? { from: 1e-3, to: 5e-5, shape: "cosine" } : 5e-2),
      parameters: o.parameters ?? (ours ? "xattn-kv" : "xattn"),
      templates: o.templates ?? (ours ? NAMINGS : ["{}"]),
    };
  },
  check(o) {
    checkTrajectories(o);
    checkPrompt(o.prompt);
  },
  fit: (o, model, { concepts }) => fitPrompt(o.prompt, model, concepts.length),
  keeps: (_, { held }) => ({ graph: held ? 2 : 1 }),
  async run(job, o) {
    const { student, teacher } = job;
    const texts = fillTemplates(job.concepts, o.templates);
    const concepts = await job.encode(texts.map(({ text: name }) => name)); // (n, L, d)
    const empty = await job.unconditional();
    const negative = o.target === "negative-guidance";
    const counterpart = negative ? empty : await job.encode([o.neutral]);
    const lambda = parseSchedule("lambda", o.lambda);
    const prompt = LearnedPrompt.create(job, o.prompt, texts.map(({ concept }) => concept)); // prettier-ignore
    const p = await job.learn("prompt", prompt.tensors(), { ...o, learningRate: o.promptLearningRate });
    const weights = await job.adam(o);
    const preservation = await job.preservation(o);
    const latents = await job.latents(o, { towards: concepts, empty });
    const { selectivity } = o.prompt;

    await job.iterate(o.iterations, async (i) => {
      const batch = await latents.next(i); // (B, 4, h, w)
      const concept = rows(concepts, batch.texts);
      const other = repeated(counterpart, batch.texts.length);
      const kept = await preservation.texts(i, batch);
      const held = kept === null ? [] : [kept];
      const [original, second, before] = await noGrad(() =>
        evaluateEach(teacher, batch, [concept, other, ...held]),
      );
      const target = negative ? second.mul(2).sub(original) : second;

      // 1. Knowledge transfer: the weights ask for no gradient, so the graph begins at the prompt.
      const transferred = await p.update(i, async (backward) => {
        const seeing = selectivity === 0 ? [concept] : [concept, ...held];
        const { conditions, injection } = await prompt.apply(batch.texts, seeing);
        const [own, others] = await evaluateEach(student, batch, conditions, { injection, grad: true });
        const transfer = own!.mse(original);
        if (others === undefined) return { transfer: await backward(transfer) };
        const select = others.mse(before!);
        await backward(transfer.add(select.mul(selectivity)));
        return { transfer: transfer.detach(), select: select.detach() };
      });

      // 2. Knowledge removal: a backward for the plain predictions, then one for that with p, so that one graph is held at a time.
      const removed = await weights.update(i, async (backward) => {
        const [plain, now] = await evaluateEach(student, batch, [concept, ...held], { grad: true });
        const erase = plain.mse(target);
        const preserve = now?.mse(before!) ?? null;
        await latents.advance(i, { conditional: plain });
        await backward(preserve === null ? erase : erase.add(preserve.mul(o.preserveWeight)));
        const { conditions, injection } = await prompt.apply(batch.texts, [concept]);
        const again = await student.predict(batch, conditions[0], { injection, grad: true });
        const recover = await backward(again.mse(original), lambda(i, o.iterations));
        return { erase: erase.detach(), recover, preserve: preserve?.detach() ?? null };
      });
      return { ...transferred, ...removed, ...(await preservation.search(i, batch)) };
    });
    job.give(await prompt.key(job));
  },
});

/** Options of KPOP, before defaults. @interface */
export type KpopOptions = Omit<OptionsOf<typeof kpop>, "method"> & { method?: "kpop" };
