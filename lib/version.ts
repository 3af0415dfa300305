import { version } from "../package.json";

/** The library's version. */
export const VERSION: string = version;
