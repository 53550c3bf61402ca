// Calls $URL for ever with Node's http module and a keep-alive agent, and says when the outcome changes.
'use strict';
const http = require('node:http');

const name = 'node';
const agent = new http.Agent({ keepAlive: true });
let last = '';
let calls = 0;
let ok = 0;

process.on('SIGTERM', () => process.exit(0));
process.on('SIGINT', () => process.exit(0));

function outcomeOf(error) {
  switch (error.code) {
    case 'ABORT_ERR': return 'timeout';
    case 'ETIMEDOUT': return 'timeout';
    case 'ECONNREFUSED': return 'refused';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH': return 'no-route';
    case 'ENOTFOUND':
    case 'EAI_AGAIN': return 'dns';
    case 'EPIPE': return 'reset';
    // Node gives a connection that was closed the code of one that was reset.
    case 'ECONNRESET': return /hang up|aborted/.test(error.message) ? 'eof' : 'reset';
    default: return 'other:' + (error.code || error.message);
  }
}

function call() {
  return new Promise((resolve) => {
    const options = { agent, headers: { 'User-Agent': name }, signal: AbortSignal.timeout(1000) };
    const request = http.get(process.env.URL, options, (response) => {
      response.on('error', (error) => resolve(outcomeOf(error)));
      response.on('end', () => resolve(String(response.statusCode)));
      response.resume();
    });
    request.on('error', (error) => resolve(outcomeOf(error)));
  });
}

async function main() {
  for (;;) {
    const outcome = await call();
    calls++;
    if (/^2..$/.test(outcome)) ok++;
    if (outcome !== last) {
      console.log(`${name} ${outcome}`);
      last = outcome;
    }
    if (calls % 100 === 0) console.log(`${name} calls=${calls} ok=${ok}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

main();
