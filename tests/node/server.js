// A lazynormd on free ports of the loopback, for the length of one test file.
import { spawn } from 'node:child_process';
import path from 'node:path';

// The folder of the programs, from the environment that run.sh sets.
const bin = process.env.LAZYNORM_BIN;

// Resolves to { address, http, stop } once the server says that it serves.
export function startServer() {
  const server = spawn(path.join(bin, 'lazynormd'),
    ['--listen=127.0.0.1:0', '--metrics_listen=127.0.0.1:0', '--store=memory:', '--drain_seconds=0s']);
  const ended = new Promise((resolve) => server.on('exit', resolve));
  const stop = async () => {
    server.kill('SIGTERM');
    return ended;
  };
  return new Promise((resolve, reject) => {
    let log = '';
    server.on('error', reject);
    server.on('exit', () => reject(new Error(`lazynormd ended: ${log}`)));
    server.stderr.on('data', (text) => {
      log += text;
      const found = /event=serving .*\bports=(\d+) metrics_port=(\d+)\s/.exec(log);
      if (!found) return;
      resolve({ address: `127.0.0.1:${found[1]}`, http: `http://127.0.0.1:${found[2]}`, stop });
    });
  });
}
