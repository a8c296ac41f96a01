// Runs every audit of graphql-http against the URLs given, and fails on anything but `ok`.
import { serverAudits } from 'graphql-http';

const AUDITS = 61;

let failed = 0;
for (const url of process.argv.slice(2)) {
  const audits = serverAudits({ url });
  if (audits.length !== AUDITS) {
    failed += 1;
    console.error(`there are ${audits.length} audits, not ${AUDITS}`);
  }
  let ok = 0;
  for (const { id, name, fn } of audits) {
    const result = await fn();
    if (result.status === 'ok') {
      ok += 1;
      continue;
    }
    failed += 1;
    console.error(`${result.status} ${id} ${name}: ${result.reason}`);
    if (result.response) {
      console.error(`  ${result.response.status} ${(await result.response.text()).slice(0, 300)}`);
    }
  }
  console.log(`${url}: ${ok} of ${audits.length} audits ok`);
}
process.exitCode = failed === 0 && process.argv.length > 2 ? 0 : 1;
