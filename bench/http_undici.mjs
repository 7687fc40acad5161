// POSTs as a Node.js program sends them: undici's pool, p-queue to have no more than so many in flight.
//
//     node http_undici.mjs ORIGIN PATH ROWS IN_FLIGHT BODY_FILE      (its packages: NODE_PATH does not hold for modules,
//                                                                     so the harness runs a copy beside node_modules)
import { readFileSync } from 'node:fs';
import PQueue from 'p-queue';
import { Pool } from 'undici';

const [origin, path, rowsText, inFlightText, bodyFile] = process.argv.slice(2);
const rows = Number(rowsText);
const inFlight = Number(inFlightText);
const body = readFileSync(bodyFile);
const headers = { 'content-type': 'application/json' };
const pool = new Pool(origin, { connections: inFlight, pipelining: 1 });
const queue = new PQueue({ concurrency: inFlight });
let done = 0;

async function post() {
  const response = await pool.request({ path, method: 'POST', headers, body });
  await response.body.text();
  if (response.statusCode !== 200) throw new Error(`an answer is ${response.statusCode}`);
  done++;
}

for (let i = 0; i < rows; i++) queue.add(post);
await queue.onIdle();
if (done !== rows) throw new Error(`${done} of ${rows} rows were done`);
process.exit(0);
