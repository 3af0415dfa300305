// A plugin of typedoc: a guide is called by its heading, not by the name of its file.
import { Converter } from "typedoc";

export function load({ converter }) {
  converter.on(Converter.EVENT_CREATE_DOCUMENT, (_context, document) => {
    const [heading] = document.content;
    const title = /^# (.+)\n/.exec(heading?.text ?? "");
    if (title === null) return;
    document.name = title[1];
    // The page shows its name as a heading already.
    heading.text = heading.text.slice(title[0].length);
  });
}
