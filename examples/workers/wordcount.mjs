#!/usr/bin/env node
// Counts words: a whole worker for Node.js 16 or later, without packages.
//
//     weir run --worker 'node examples/workers/wordcount.mjs' -j 2 rows.jsonl
//
// A row is a text, or an object with `text`. The commands are async functions in the table below; as many may be under way
// as MAX_IN_FLIGHT says, which pays for work that waits (fetch, a database). The protocol: docs/worker-protocol.md.

const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;
const MAX_IN_FLIGHT = 8;
const TOP = 3;

// Standard output belongs to the protocol; what others write there goes to the log.
const writePacket = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);

const commands = {
  async process(args) {
    const text = typeof args === 'string' ? args : args?.text;
    if (typeof text !== 'string') throw new TypeError('a row is a text, or an object with a text as "text"');
    const words = text.toLowerCase().match(/[\p{L}\p{N}][\p{L}\p{M}\p{N}'’]*/gu) ?? [];
    const counts = new Map();
    for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
    const top = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, TOP);
    return { words: words.length, distinct: counts.size, top };
  },
  async ping() {
    return { max_in_flight: MAX_IN_FLIGHT };
  },
};

function send(response) {
  const body = Buffer.from(JSON.stringify(response), 'utf8');
  if (body.length > MESSAGE_BYTES_MAX) {
    send(failure(response.id, new RangeError(`the result has ${body.length} bytes, ${MESSAGE_BYTES_MAX} at most`)));
    return;
  }
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  writePacket(Buffer.concat([head, body]));
}

function failure(id, error) {
  const message = String(error?.message ?? error);
  return { id, success: false, error: { type: error?.name ?? 'Error', message, retryable: error?.retryable === true } };
}

async function answer({ id, command, args }) {
  try {
    if (!Object.hasOwn(commands, command)) throw new ReferenceError(`there is no command ${JSON.stringify(command)}`);
    send({ id, success: true, result: (await commands[command](args)) ?? null });
  } catch (error) {
    send(failure(id, error));
  }
}

// The requests among what comes in, whatever pieces it comes in.
async function* requests(input) {
  const pieces = [];
  let have = 0;
  let need = 4;
  let inBody = false;
  for await (const piece of input) {
    pieces.push(piece);
    have += piece.length;
    while (have >= need) {
      const all = pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
      const part = all.subarray(0, need);
      pieces.length = 0;
      if (have > need) pieces.push(all.subarray(need));
      have -= need;
      if (inBody) {
        yield JSON.parse(part.toString('utf8'));
        need = 4;
      } else {
        need = part.readUInt32BE();
        if (need > MESSAGE_BYTES_MAX) throw new Error('what came in is not the protocol of workers');
      }
      inBody = !inBody;
    }
  }
}

const running = new Set();
let shutdown = null;
for await (const request of requests(process.stdin)) {
  if (request.command === 'shutdown') {
    shutdown = request.id;
    break;
  }
  const call = answer(request);
  running.add(call);
  call.finally(() => running.delete(call));
}
// Told to finish, or the input has ended.
await Promise.all(running);
if (shutdown !== null) send({ id: shutdown, success: true });
process.exitCode = 0;
