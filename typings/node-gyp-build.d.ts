/** The part of node-gyp-build that picks one of several prebuilt files by the tags in their names. */
declare module "node-gyp-build" {
  interface Tags {
    file: string;
    specificity: number;
  }
  const build: {
    parseTags(file: string): Tags | undefined;
    matchTags(runtime: string, abi: string): (tags: Tags | undefined) => tags is Tags;
    compareTags(runtime: string): (a: Tags, b: Tags) => number;
  };
  export default build;
}
