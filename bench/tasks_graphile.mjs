// Jobs of 100 bytes in graphile-worker, 100 in a statement, run with the settings that its documentation has for speed.
//
//     node tasks_graphile.mjs CONNECTION JOBS
import { makeWorkerUtils, run, Logger } from "graphile-worker";
import pg from "pg";

const [connectionString, jobs] = [process.argv[2], Number(process.argv[3])];
const logger = new Logger(() => () => {});
const pgPool = new pg.Pool({ connectionString, max: 12 });
const job = { identifier: "noop", payload: { p: "x".repeat(92) } };
const rate = start => jobs / (performance.now() - start) * 1e3;

const utils = await makeWorkerUtils({ pgPool, logger });
await utils.migrate();
await pgPool.query("truncate graphile_worker._private_jobs");
let start = performance.now();
for (let i = 0; i < jobs; i += 100)
  await utils.addJobs(Array.from({ length: Math.min(100, jobs - i) }, () => job));
console.log(`submitted_per_s ${rate(start)}`);

let done = 0, finish;
const all = new Promise(resolve => { finish = resolve; });
const worker = { logger, concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
start = performance.now();
const runner = await run({ pgPool, logger, noHandleSignals: true, preset: { worker },
                           taskList: { noop: async () => { if (++done === jobs) finish(); } } });
await all;
while ((await pgPool.query("select 1 from graphile_worker._private_jobs limit 1")).rows.length > 0);
console.log(`ended_per_s ${rate(start)}`);
await runner.stop();
process.exit(0);
