import { integer, number, path, steps, templates } from "../../options/kinds";

/** Options of methods that train on pictures which the model makes. */
export function pictures() {
  return {
    /** Pictures of each concept that the model makes. Default 200. */
    images: integer(200, "pictures of a concept that the model makes to train on", { from: 1 }),
    /** What the pictures are made of, "{}" standing for the name. Default the bare name. */
    templates: templates(["{}"], 'captions of the pictures, such as "a photo of a {}"'),
    /** Denoising steps of those pictures. Default 25. */
    samplingSteps: steps(25, "denoising steps of the pictures"),
    /** Guidance scale of those pictures. Default 6. */
    guidanceScale: number(6, "guidance scale of those pictures", { from: 0 }),
    /** Where they are kept, for this and later runs. Default "", kpop-native/images in the user's cache directory. */
    cacheDirectory: path("", "where those pictures are kept; the user's cache directory when empty"),
  };
}
