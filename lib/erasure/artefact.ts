/** What a method leaves beside the weights: a key, a task vector. */
export interface Artefact {
  /** Of this one alone among those of a run; files are named by it. */
  readonly name: string;
  /** Whether it has to be kept apart from the model, and may be encrypted. */
  readonly secret?: boolean;
  /** Writes it as a file of its own. @throws INVALID_ARGUMENT, NO_SPACE, NOT_FOUND, IO_ERROR */
  save(path: string, options?: object): Promise<void>;
  dispose(): void;
}
