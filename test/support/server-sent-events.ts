export interface ServerSentEvent {
  name: string;
  data: unknown;
}

/** The events of an answer (HTML standard, "Server-sent events"; one line of data each), until one side ends it. */
export async function* serverSentEvents(response: Response): AsyncGenerator<ServerSentEvent, void> {
  if (response.headers.get("content-type") !== "text/event-stream")
    throw new Error(`Expected events but received ${response.status}: ${await response.text()}`);
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of response.body!) {
    text += decoder.decode(bytes as Uint8Array, { stream: true });
    const blocks = text.split("\n\n");
    text = blocks.pop()!;
    for (const block of blocks) {
      const parts = /^event: (.*)\ndata: (.*)$/.exec(block);
      if (parts !== null) yield { name: parts[1]!, data: JSON.parse(parts[2]!) };
    }
  }
}
