// The large files: fetched once, with progress, and unpacked here, so that no host has to compress anything.

import settings from "./settings.js";

/** A file's name holds a digest: that of another build is never taken for it. */
const RENEWED = "If the page was renewed meanwhile, close it everywhere and open it again.";

/**
 * The bytes of some of `settings.downloads`, by name.
 *
 * @param report is told how many bytes of how many have come.
 */
export async function download(names, report) {
  const total = names.reduce((sum, name) => sum + settings.downloads[name], 0);
  let loaded = 0;
  const one = async (name) => {
    const answer = await fetch(new URL(`../${name}`, import.meta.url));
    if (!answer.ok) throw new Error(`${name} could not be loaded (${answer.status}). ${RENEWED}`);
    const chunks = [];
    for (const reader = answer.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
      loaded += value.length;
      report(Math.min(loaded, total), total);
    }
    return [name, await unpacked(new Blob(chunks))];
  };
  return Object.fromEntries(await Promise.all(names.map(one)));
}

async function unpacked(blob) {
  const [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  if (first !== 0x1f || second !== 0x8b) return blob.arrayBuffer(); // the host sent it unpacked
  return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
